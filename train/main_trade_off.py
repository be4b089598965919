"""Draw the curve of accuracy against balanced accuracy over strengths of the bias of rare classes.

    python train/main_trade_off.py ../shared/ham10000
    python train/main_trade_off.py ../shared/ham10000 --also ../shared/elsewhere

The images are the validation part of the training images, and with ``--also`` those of other sources as well.
The curve is written to ``trade_off.json`` next to the score card, whose command then adds figures of the card's own
images; ``make archive`` packs it, and MLBIO_BIAS_STRENGTH selects another point of it for the service.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from api.arguments import UsageError
from evaluate.arguments import OUTPUT, add_also_option, add_bootstrap_options, add_model_option
from evaluate.dataset import FOLDERS, METADATA, DataError
from evaluate.files import TRADE_OFF


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    # Imported after parsing, because torch takes seconds.
    from evaluate.report import trade_off_table
    from handler.model.checkpoint import CheckpointError
    from train.trade_off import measure

    try:
        measured = measure(arguments)
    except (UsageError, DataError, CheckpointError, OSError) as error:
        print(f"main_trade_off.py: error: {error}", file=sys.stderr)
        return 2
    print(trade_off_table(measured))
    return 0


def parser() -> argparse.ArgumentParser:
    """The documented options."""
    p = argparse.ArgumentParser(description="Fit the trade-off curve of the bias of rare classes.")
    p.add_argument("root", type=Path, help=f"folder with {METADATA} and {FOLDERS['train']}/")
    add_also_option(p)
    add_model_option(p, "checkpoint that will serve")
    p.add_argument(
        "--output", type=Path, metavar="DIR", default=OUTPUT, help=f"folder of {TRADE_OFF} (default: {OUTPUT.name})"
    )
    add_bootstrap_options(p)
    return p


if __name__ == "__main__":
    sys.exit(main())
