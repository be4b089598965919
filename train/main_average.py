"""Average the weights of models that were trained on from the same one, and fit the mean as main_train.py does.

    python train/main_average.py ../shared/ham10000 --models model_store/model_mlbio.pth cameras.pth --output mean.pth
    python train/main_average.py ../shared/ham10000 --models a.pth b.pth --weights 4 1 --weights 3 2 --output mean.pth
    python train/main_average.py ../shared/ham10000 --also ../shared/elsewhere --models mine.pth --output fitted.pth

An average takes no more time at inference than one model. All models must have been trained on the same images. The
command prints metrics of each model and average on held-out images, and saves the average with the best score on these
(``train.calibrate.selection_score``). A single model keeps its weights and is calibrated again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from api.arguments import UsageError
from evaluate.arguments import add_also_option
from evaluate.dataset import FOLDERS, METADATA, DataError


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    # Imported after parsing, because torch takes seconds.
    from handler.model.checkpoint import CheckpointError
    from train.average import average

    try:
        average(arguments)
    except (UsageError, DataError, CheckpointError, OSError) as error:
        print(f"main_average.py: error: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """The documented options."""
    p = argparse.ArgumentParser(description="Average the weights of models that were trained on from the same one.")
    p.add_argument("root", type=Path, help=f"folder with {METADATA} and {FOLDERS['train']}/")
    add_also_option(p)
    p.add_argument("--models", nargs="+", type=Path, required=True, metavar="PTH", help="checkpoints of main_train.py")
    p.add_argument(
        "--weights",
        nargs="+",
        action="append",
        type=float,
        metavar="W",
        help="of each model (default: all the same); give it several times to keep the best mean",
    )
    p.add_argument("--output", type=Path, required=True, metavar="PTH", help="checkpoint to write")
    p.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    return p


if __name__ == "__main__":
    sys.exit(main())
