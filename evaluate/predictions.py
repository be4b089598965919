"""A model's answers to a labelled set of images, stored as a CSV file: all that a score card is computed from."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from api.classes import CLASSES, class_indices
from evaluate.dataset import DataError, Example, patient_fields, read_rows
from handler.graphs import sha256

PATIENT = ("age", "sex", "localization")
MODEL = ("model", "sha256")
THRESHOLDS = ("malignant_threshold", "plausible_threshold")


@dataclass(frozen=True)
class Predictions:
    """Answers to ``examples``, in their order.

    Attributes:
        examples: the labelled images; their paths are relative to the folder of the set.
        probabilities: float32 (N, classes), in the order of ``CLASSES``.
        novelty: float32 (N,), how unlike the training images each image is, flagged above 1; None if not known.
        model: file name and first 12 digits of the SHA-256 of the checkpoint; empty if not known.
        malignant_threshold: an image is called malignant from this summed probability of
            :data:`api.classes.MALIGNANT`; None if there is no such threshold.
        plausible_threshold: a diagnosis cannot be excluded from this probability; None if there is no such threshold.
    """

    examples: list[Example]
    probabilities: np.ndarray
    novelty: np.ndarray | None = None
    model: tuple[str, str] = ("", "")
    malignant_threshold: float | None = None
    plausible_threshold: float | None = None

    @property
    def labels(self) -> np.ndarray:
        """The true classes, int (N,)."""
        return np.array([e.label for e in self.examples], int)

    def write(self, path: Path) -> None:
        """Write a row per image, with digits enough for :meth:`read` to restore every number exactly."""
        classes = list(CLASSES)
        thresholds = {name: value for name in THRESHOLDS if (value := getattr(self, name)) is not None}
        optional = ["novelty"] * (self.novelty is not None) + [*thresholds]
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["file", "lesion_id", "dx", *PATIENT, *MODEL, *optional, *classes])
            for i, (e, row) in enumerate(zip(self.examples, self.probabilities, strict=True)):
                patient = ["" if e.age is None else e.age, e.sex, e.site]
                more: list[object] = [] if self.novelty is None else [_digits(self.novelty[i])]
                more += thresholds.values()
                known: list[object] = [e.path.as_posix(), e.lesion, classes[e.label], *patient, *self.model]
                table.writerow(known + more + [_digits(p) for p in row])

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Read what :meth:`write` wrote; only the columns ``file``, ``dx`` and one per class are required.

        Raises:
            DataError: the file, a column or every row is missing, or a value is invalid.
        """
        classes = list(CLASSES)
        rows = read_rows(path, ("file", "dx", *classes))
        if not rows:
            raise DataError(f"{path} has no row: it holds one for each image")
        examples, probabilities = [], np.empty((len(rows), len(classes)), np.float32)
        for row, into in zip(rows, probabilities, strict=True):
            if row["dx"] not in classes:
                raise DataError(f"{path}: {row['file']} has dx {row['dx']!r}; known are {', '.join(classes)}")
            values = [_number(path, row, c) for c in classes]
            if min(values) < 0 or abs(sum(values) - 1) > 1e-3:
                raise DataError(f"{path}: the probabilities of {row['file']} are negative or do not add up to 1")
            into[:] = values
            label, lesion = classes.index(row["dx"]), row.get("lesion_id") or ""
            examples.append(Example(Path(row["file"] or ""), label, lesion, *patient_fields(row)))
        novelty = [_number(path, row, "novelty") for row in rows] if "novelty" in rows[0] else None
        thresholds = {name: _number(path, rows[0], name) for name in THRESHOLDS if _constant(path, rows, name)}
        return cls(
            examples,
            probabilities,
            None if novelty is None else np.array(novelty, np.float32),
            (_constant(path, rows, MODEL[0]), _constant(path, rows, MODEL[1])),
            **thresholds,
        )


def in_known_order(probabilities: np.ndarray, classes: list[str]) -> np.ndarray:
    """Columns ``classes`` of (N, C) in the order of ``CLASSES``, float32, 0 for a class that the model lacks."""
    known = np.zeros((len(probabilities), len(CLASSES)), np.float32)
    known[:, class_indices(classes)] = probabilities
    return known


def model_of(checkpoint: Path) -> tuple[str, str]:
    """The :attr:`Predictions.model` of a checkpoint's file."""
    return checkpoint.name, sha256(checkpoint)[:12]


def _digits(value: float) -> str:
    """Nine digits tell every float32 from its neighbours."""
    return f"{np.float32(value):.9g}"


def _number(path: Path, row: dict[str, str | None], column: str) -> float:
    try:
        value = float(row[column] or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{path}: {row['file']} has {column} {row[column]!r}, which is not a number")
    return value


def _constant(path: Path, rows: list[dict[str, str | None]], column: str) -> str:
    """The value of a column that is the same for all images."""
    texts = {row.get(column) or "" for row in rows}
    if len(texts) > 1:
        raise DataError(f"{path} has more than one {column}: keep the rows of one model")
    return texts.pop()
