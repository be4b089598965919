"""Quality and speed of explanations compared with the lime package, on the same model and test photographs.

    .venv/bin/python benchmarks/explain.py DATA                40 minutes on two idle cores
    .venv/bin/python benchmarks/explain.py --photos 2 DATA     a quick look

DATA has the layout of HAM10000, with HAM10000_segmentations/. Quality is computed with the service's 8-bit engine for
both methods. The first 20 photographs are explained twice, with different masks, to measure the agreement of two
explanations and the distance to the converged one. Speed is measured last, for lime with torch in float32.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    """Print the tables."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("root", type=Path, metavar="DATA", help="HAM10000, with its segmentations")
    p.add_argument("--photos", type=int, default=50, help="how many test photographs (default: %(default)s)")
    arguments = p.parse_args()
    # Imported after parsing, because torch takes seconds.
    from benchmarks.explanation_quality import measure_and_print

    measure_and_print(arguments.root, arguments.photos)


if __name__ == "__main__":
    main()
