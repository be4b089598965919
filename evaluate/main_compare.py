"""Compare two models, or two recipes, by their predictions for the same images.

    python evaluate/main_compare.py --answers gentle/fold_*.csv --with strong/fold_*.csv
    python evaluate/main_compare.py --answers old/validation_*.csv --with new/validation_*.csv

The files are written by main_train.py --fold, main_robustness.py --answers and main_evaluate.py. The k-th files of both
models must have the same images. A difference whose interval contains 0 may be due to chance.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from evaluate.arguments import add_bootstrap_options
from evaluate.dataset import DataError


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    # Imported after parsing, because torch takes seconds.
    from evaluate.comparison import compare, pair_predictions
    from evaluate.predictions import Predictions
    from evaluate.report import comparison_table

    try:
        first, second = ([Predictions.read(path) for path in side] for side in (arguments.answers, arguments.others))
        pair = pair_predictions(first, second)
    except (DataError, OSError) as error:
        print(f"main_compare.py: error: {error}", file=sys.stderr)
        return 2
    print(comparison_table(compare(pair, arguments.resamples, arguments.seed), len(pair.examples)))
    return 0


def parser() -> argparse.ArgumentParser:
    """The documented options."""
    p = argparse.ArgumentParser(description="Compare two models by their predictions for the same images.")
    p.add_argument("--answers", nargs="+", type=Path, required=True, metavar="CSV", help="of the first model")
    p.add_argument(
        "--with", nargs="+", type=Path, required=True, metavar="CSV", dest="others", help="of the second, in that order"
    )
    add_bootstrap_options(p)
    return p


if __name__ == "__main__":
    sys.exit(main())
