"""Write a teacher's answers to the training images, for ``main_train.py --teacher``.

    python train/main_teach.py ../shared/ham10000 --models folds/fold_*.pth --output teacher.csv

Each network answers the images that it did not learn from, in eight dihedral views.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from evaluate.arguments import UsageError, ensure_writable
from evaluate.dataset import FOLDERS, METADATA, DataError, find_examples
from handler.checkpoint import Checkpoint, CheckpointError
from train.processes import Processes
from train.teacher import teach


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
        ensure_writable(arguments.output, "--output")
        examples = find_examples(arguments.root, "train")
        checkpoints = [Checkpoint.load(path) for path in arguments.models]
        device = Processes().device(arguments.device)
        answers = teach(checkpoints, examples, arguments.root / FOLDERS["train"], device)
        answers.write(arguments.output)
    except (DataError, UsageError, CheckpointError, OSError) as error:
        print(f"main_teach.py: error: {error}", file=sys.stderr)
        return 2
    print(f"{len(answers.examples)} of {len(examples)} images answered by networks that did not learn from them")
    return 0


def parser() -> argparse.ArgumentParser:
    """The documented options."""
    p = argparse.ArgumentParser(description="Write a teacher's answers to the training images.")
    p.add_argument("root", type=Path, help=f"folder with {METADATA} and {FOLDERS['train']}/")
    p.add_argument("--models", nargs="+", type=Path, required=True, metavar="PTH", help="checkpoints of main_train.py")
    p.add_argument("--output", type=Path, required=True, metavar="CSV", help="file to write")
    p.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    return p


if __name__ == "__main__":
    sys.exit(main())
