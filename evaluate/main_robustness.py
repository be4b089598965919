"""Measure how much of a trained model's accuracy survives other cameras, compression and resizing.

    python evaluate/main_robustness.py ../shared/ham10000
    python evaluate/main_robustness.py ../shared/ham10000 --also ../shared/elsewhere

Every photograph of the validation part of the training images and of the test images is changed in ten ways
(``evaluate/robustness.py``) and classified. Recipes are to be chosen by the validation part alone. The table goes into
``robustness.json`` next to the score card, whose command then shows it. It takes minutes. ``--also`` adds tables of the
validation and test parts of other sources.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from api.arguments import UsageError
from evaluate.arguments import OUTPUT, add_also_option, add_bootstrap_options, add_model_option
from evaluate.dataset import FOLDERS, METADATA, DataError
from evaluate.files import ROBUSTNESS

SETS = ("validation", "test")


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    # Imported after parsing, because torch takes seconds.
    from evaluate.report import robustness_table
    from evaluate.robustness import measure
    from handler.model.checkpoint import CheckpointError

    try:
        measured = measure(arguments)
    except (UsageError, DataError, CheckpointError, OSError) as error:
        print(f"main_robustness.py: error: {error}", file=sys.stderr)
        return 2
    print(robustness_table(measured))
    return 0


def parser() -> argparse.ArgumentParser:
    """The documented options."""
    p = argparse.ArgumentParser(description="Measure a trained model's accuracy on photographs changed in ten ways.")
    p.add_argument("root", type=Path, help=f"folder with {METADATA}, {FOLDERS['train']}/ and {FOLDERS['test']}/")
    add_model_option(p, "checkpoint to evaluate")
    p.add_argument("--sets", nargs="+", choices=SETS, default=SETS, help="images to change (default: both)")
    p.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        default=OUTPUT,
        help=f"folder of {ROBUSTNESS} (default: model_store/score_card)",
    )
    p.add_argument("--answers", type=Path, metavar="DIR", help="folder for the predictions, for main_compare.py")
    add_also_option(p)
    add_bootstrap_options(p)
    return p


if __name__ == "__main__":
    sys.exit(main())
