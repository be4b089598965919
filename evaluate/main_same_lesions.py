"""Find photographs of other sources that show a lesion of HAM10000, taken or cropped differently.

python evaluate/main_same_lesions.py ../shared/ham10000 --also ../shared/elsewhere

The pairs go into ``evaluate/same_lesions.csv``, which determines what is held out of these sources. The command takes
minutes, and needs OpenCV (``requirements-dev.txt``). The candidates of the committed table were the nearest neighbours
in features of ImageNet weights instead of ``--modelname``'s, so a new table may differ in a few pairs.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

from api.arguments import UsageError, ensure_writable
from evaluate.arguments import add_also_option, add_model_option
from evaluate.dataset import DataError, find_examples
from evaluate.sources import HELD_OUT_SOURCES, SAME_LESIONS, find_sources


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    # Imported after parsing, because torch takes seconds.
    from evaluate.same_lesions import same_lesions
    from handler.model.checkpoint import Checkpoint, CheckpointError

    try:
        ensure_writable(arguments.output, "--output")
        ours = find_examples(arguments.root, "train")
        theirs = [e for e in find_sources(arguments.also).examples if e.source in HELD_OUT_SOURCES]
        if not theirs:
            raise UsageError(f"the folders of --also have no photograph of {', '.join(HELD_OUT_SOURCES)}")
        pairs = same_lesions(ours, theirs, Checkpoint.load(arguments.modelname))
    except (CheckpointError, DataError, UsageError) as error:
        print(f"main_same_lesions.py: error: {error}", file=sys.stderr)
        return 2
    with arguments.output.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["image_id", "lesion_id"])
        table.writerows(sorted((theirs.path.stem, ours.lesion) for theirs, ours in pairs))
    agree = sum(theirs.label == ours.label for theirs, ours in pairs)
    print(
        f"{len(pairs)} of {len(theirs)} photographs show a lesion of HAM10000; {agree} of these have its diagnosis -> "
        f"{arguments.output}"
    )
    return 0


def parser() -> argparse.ArgumentParser:
    """The documented options."""
    p = argparse.ArgumentParser(description="Find photographs of other sources that show a lesion of HAM10000.")
    p.add_argument("root", help="folder of HAM10000")
    add_also_option(p)
    add_model_option(p, "checkpoint whose features are compared (default: the one that ships)")
    p.add_argument("--output", type=Path, default=SAME_LESIONS, metavar="CSV", help=f"default: {SAME_LESIONS.name}")
    return p


if __name__ == "__main__":
    sys.exit(main())
