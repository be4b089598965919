"""What is wrong with a data set, without training: ``main_train.py --check``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluate.dataset import DataError, class_counts, find_ham10000, split_by_lesion
from evaluate.photographs import header_faults, listed
from evaluate.sources import read_sources

MAX_FAULTS = 50


def check(root: str | Path, also: Sequence[str | Path]) -> int:
    """Print the class counts of a data set and all that has to be corrected; returns the exit code, 0 or 2.

    Args:
        root: HAM10000's folder.
        also: folders of other sources.
    """
    faults: list[str] = []
    paths: list[Path] = []
    for split in ("train", "test"):
        try:
            found = find_ham10000(root, split)
        except DataError as error:
            faults += str(error).splitlines()
            continue
        if split == "train":
            print("".join(f"{note}\n" for note in found.notes), end="")
            try:
                split_by_lesion(found.examples, 0.1, 0)
            except DataError as error:
                faults.append(str(error))
        counts = ", ".join(f"{dx} {count}" for dx, count in class_counts(found.examples).items())
        print(f"{split}: {len(found.examples)} images ({counts})")
        faults += found.faults
        paths += [example.path for example in found.examples]
    if also:
        sources = read_sources(also)
        print(f"other sources: {sources.summary()}")
        faults += sources.faults
        paths += [example.path for example in sources.examples] + [other.path for other in sources.others]
    faults += header_faults(paths, os.cpu_count() or 1)
    faults = list(dict.fromkeys(faults))  # both parts may have the same
    if not faults:
        print(f"no faults in {len(paths)} images")
        return 0
    print(f"{listed(faults, MAX_FAULTS)}\n{len(faults)} faults in {len(paths)} images", file=sys.stderr)
    return 2
