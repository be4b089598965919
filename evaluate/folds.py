"""Folds of the training images by lesion: each image is held out of one run, so that all of them can be answered."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass

import numpy as np

from api.classes import CLASSES
from evaluate.dataset import DataError, Example


@dataclass(frozen=True)
class Fold:
    """One of ``count`` folds, ``number`` from 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Fold:
        """The fold that ``text`` names, such as 2/5; for argparse."""
        match = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text)
        if match and 1 <= int(match[1]) <= int(match[2]) and int(match[2]) > 1:
            return cls(int(match[1]), int(match[2]))
        raise argparse.ArgumentTypeError(f"{text} is not a fold: give K/N, such as 2/5, with K from 1 to N")


def split_fold(examples: list[Example], fold: Fold, seed: int) -> tuple[list[Example], list[Example]]:
    """``(train, held_out)``: each lesion is held out by one fold, and each class's lesions are spread evenly.

    Raises:
        DataError: a class has fewer lesions than there are folds.
    """
    label_of: dict[str, int] = {}
    for example in examples:
        label_of.setdefault(example.lesion, example.label)
    lesions = sorted(label_of)
    labels = np.array([label_of[lesion] for lesion in lesions])
    counts = np.bincount(labels, minlength=len(CLASSES))
    for label in np.flatnonzero((counts > 0) & (counts < fold.count)):
        raise DataError(
            f"class {list(CLASSES)[label]} has {counts[label]} lesions in the training images, fewer than the "
            f"{fold.count} folds: give fewer folds"
        )
    from sklearn.model_selection import StratifiedKFold  # its import takes seconds

    folds = StratifiedKFold(fold.count, shuffle=True, random_state=seed).split(lesions, labels)
    held_out = {lesions[i] for i in list(folds)[fold.number - 1][1]}
    train = [e for e in examples if e.lesion not in held_out]
    return train, [e for e in examples if e.lesion in held_out]
