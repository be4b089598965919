"""What a model answered for a set of images: all that a score card is computed from, kept as one CSV file."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from handler.contract import CLASSES
from train.data import DataError, Example, person_of, read_rows

PERSON = ("age", "sex", "localization")
MODEL = ("model", "sha256")


@dataclass(frozen=True)
class Predictions:
    """Answers to ``examples``, in their order.

    Attributes:
        examples: what was asked; their paths are relative to the folder of the set.
        probabilities: float32 (N, classes), in the order of ``CLASSES``.
        novelty: float32 (N,), how unlike the training images each image is; above 1 it is flagged. None if not known.
        model: file name and first hexadecimal digits of the SHA-256 of the checkpoint; empty where not known.
        malignant_threshold: the summed probability of :data:`handler.contract.MALIGNANT` from which on an image is
            called malignant; None if there is none.
    """

    examples: list[Example]
    probabilities: np.ndarray
    novelty: np.ndarray | None = None
    model: tuple[str, str] = ("", "")
    malignant_threshold: float | None = None

    @property
    def labels(self) -> np.ndarray:
        """The true classes, int (N,)."""
        return np.array([e.label for e in self.examples], int)

    def write(self, path: Path) -> None:
        """A row per image. Numbers have as many digits as their type, so that :meth:`read` gives the same."""
        classes = list(CLASSES)
        optional = ["novelty"] * (self.novelty is not None)
        optional += ["malignant_threshold"] * (self.malignant_threshold is not None)
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["file", "lesion_id", "dx", *PERSON, *MODEL, *optional, *classes])
            for i, (e, row) in enumerate(zip(self.examples, self.probabilities, strict=True)):
                person = ["" if e.age is None else e.age, e.sex, e.site]
                more = [] if self.novelty is None else [_digits(self.novelty[i])]
                more += [] if self.malignant_threshold is None else [self.malignant_threshold]
                known = [e.path.as_posix(), e.lesion, classes[e.label], *person, *self.model]
                table.writerow(known + more + [_digits(p) for p in row])

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """What :meth:`write` wrote; the columns ``file``, ``dx`` and one per class are enough.

        Raises:
            DataError: the file, a column or every row is missing, or a value is not as it must be.
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
            examples.append(Example(Path(row["file"] or ""), label, lesion, *person_of(row)))
        novelty = [_number(path, row, "novelty") for row in rows] if "novelty" in rows[0] else None
        threshold = _constant(path, rows, "malignant_threshold")
        return cls(
            examples,
            probabilities,
            None if novelty is None else np.array(novelty, np.float32),
            (_constant(path, rows, MODEL[0]), _constant(path, rows, MODEL[1])),
            _number(path, rows[0], "malignant_threshold") if threshold else None,
        )


def _digits(value: float) -> str:
    """Nine tell every float32 from its neighbours."""
    return f"{np.float32(value):.9g}"


def _number(path: Path, row: dict[str, str | None], column: str) -> float:
    try:
        value = float(row[column] or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{path}: {row['file']} has {column} {row[column]!r}, which is no number")
    return value


def _constant(path: Path, rows: list[dict[str, str | None]], column: str) -> str:
    """The one text of a column that says the same of all images."""
    texts = {row.get(column) or "" for row in rows}
    if len(texts) > 1:
        raise DataError(f"{path} has more than one {column}: keep the rows of one model")
    return texts.pop()
