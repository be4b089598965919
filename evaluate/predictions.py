"""A model's predictions for a set of images, stored as a CSV file; score cards are computed from it."""

from __future__ import annotations

import csv
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Self, TypeVar

import numpy as np

from api.classes import CLASSES, MALIGNANT, class_indices
from api.spreadsheet import cell
from evaluate.dataset import DataError, Example, OtherDisease, patient_fields, text_of
from handler.engines.graphs import sha256

MODEL = ("model", "sha256")
THRESHOLDS = ("malignant_threshold", "plausible_threshold")
OPTIONAL = ("source", "skin_tone")
"""Columns that are omitted if no value is known."""

NOVELTY_LIMIT = 1.0
"""An image with a higher novelty is flagged as unlike the training images."""

Image = TypeVar("Image", Example, OtherDisease)


@dataclass(frozen=True)
class BasePredictions(ABC, Generic[Image]):
    """Predictions for ``examples``, in their order.

    Attributes:
        examples: the images; their paths are relative to the folder of the set.
        probabilities: float32 (N, classes), in the order of ``CLASSES``.
        novelty: float32 (N,), how unlike the training images each image is, flagged above :data:`NOVELTY_LIMIT`; None
            if not known.
        model: file name and first 12 digits of the SHA-256 of the checkpoint; empty if not known.
        malignant_threshold: an image is called malignant from this summed probability of
            :data:`api.classes.MALIGNANT`; None if there is no such threshold.
        plausible_threshold: a diagnosis cannot be excluded from this probability; None if there is no such threshold.
    """

    examples: list[Image]
    probabilities: np.ndarray
    novelty: np.ndarray | None = None
    model: tuple[str, str] = ("", "")
    malignant_threshold: float | None = None
    plausible_threshold: float | None = None

    def write(self, path: Path) -> None:
        """Write a row per image, with enough digits for :meth:`read` to restore every number exactly.

        No byte-order mark: the files are committed and read by programs.
        """
        count = len(self.examples)
        columns = self._columns()
        columns |= {name: [value] * count for name, value in zip(MODEL, self.model, strict=True)}
        if self.novelty is not None:
            columns["novelty"] = map(_digits, self.novelty)
        thresholds = {name: getattr(self, name) for name in THRESHOLDS}
        columns |= {name: [value] * count for name, value in thresholds.items() if value is not None}
        columns |= {name: map(_digits, column) for name, column in zip(CLASSES, self.probabilities.T, strict=True)}
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(zip(*(map(cell, column) for column in columns.values()), strict=True))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what :meth:`write` wrote; only the columns ``file``, ``dx`` and one per class are required.

        Raises:
            DataError: the file, a column or every row is missing, or a value is invalid.
        """
        rows = read_rows(path, ("file", "dx", *CLASSES))
        if not rows:
            raise DataError(f"{path} has no row: it holds one for each image")
        examples, probabilities = [], np.empty((len(rows), len(CLASSES)), np.float32)
        for i, row in enumerate(rows):
            examples.append(cls._example(path, row))
            values = [_number(path, row, c) for c in CLASSES]
            if min(values) < 0 or abs(sum(values) - 1) > 1e-3:
                raise DataError(f"{path}: the probabilities of {row['file']} are negative or do not add up to 1")
            probabilities[i] = values
        novelty = [_number(path, row, "novelty") for row in rows] if "novelty" in rows[0] else None
        thresholds = {name: _number(path, rows[0], name) for name in THRESHOLDS if _constant(path, rows, name)}
        return cls(
            examples,
            probabilities,
            None if novelty is None else np.array(novelty, np.float32),
            (_constant(path, rows, MODEL[0]), _constant(path, rows, MODEL[1])),
            **thresholds,
        )

    @abstractmethod
    def _columns(self) -> dict[str, Iterable[object]]:
        """The images' columns, by name."""

    @classmethod
    @abstractmethod
    def _example(cls, path: Path, row: dict[str, str | None]) -> Image:
        """The image in a row of the file ``path``."""


class Predictions(BasePredictions[Example]):
    """Predictions for labelled images."""

    @property
    def labels(self) -> np.ndarray:
        """The true classes, int (N,)."""
        return np.array([e.label for e in self.examples], int)

    def _columns(self) -> dict[str, Iterable[object]]:
        examples, classes = self.examples, list(CLASSES)
        columns: dict[str, Iterable[object]] = {
            "file": [e.path.as_posix() for e in examples],
            "lesion_id": [e.lesion for e in examples],
            "dx": [classes[e.label] for e in examples],
            "age": ["" if e.age is None else e.age for e in examples],
            "sex": [e.sex for e in examples],
            "localization": [e.site for e in examples],
        }
        optional = {name: [getattr(e, name) for e in examples] for name in OPTIONAL}
        return columns | {name: values for name, values in optional.items() if any(values)}

    @classmethod
    def _example(cls, path: Path, row: dict[str, str | None]) -> Example:
        label = label_of(row["dx"], f"{path}: {row['file']}")
        optional = [text_of(row, name) for name in OPTIONAL]
        return Example(Path(text_of(row, "file")), label, text_of(row, "lesion_id"), *patient_fields(row), *optional)


class OtherDiseasePredictions(BasePredictions[OtherDisease]):
    """Predictions for photographs of diseases that are none of the classes."""

    def _columns(self) -> dict[str, Iterable[object]]:
        return {
            "file": [e.path.as_posix() for e in self.examples],
            "source": [e.source for e in self.examples],
            "dx": [e.dx for e in self.examples],
        }

    @classmethod
    def _example(cls, path: Path, row: dict[str, str | None]) -> OtherDisease:
        return OtherDisease(Path(text_of(row, "file")), text_of(row, "dx"), text_of(row, "source"))


def label_of(dx: str | None, image: str) -> int:
    """The index of a class; ``image`` says in the error which one it is about.

    Raises:
        DataError: it is none of the classes.
    """
    if dx not in CLASSES:
        raise DataError(f"{image} has dx {dx!r}; known are {', '.join(CLASSES)}")
    return list(CLASSES).index(dx)


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str | None]]:
    """The rows of a CSV file, by column name; a value that a short row lacks is None.

    Raises:
        DataError: the file is missing or not CSV in UTF-8, or lacks one of ``columns``.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing: it holds a row per image (columns {', '.join(columns)})")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            for column in columns:
                if column not in (reader.fieldnames or []):
                    raise DataError(f"{path} has no column {column!r}; it has {', '.join(reader.fieldnames or [])}")
            return list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8 ({error})") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from None


def malignant_scores(probabilities: np.ndarray) -> np.ndarray:
    """The summed probability (N,) of the malignant classes, added in float32 as in serving."""
    return summed(probabilities, class_indices(MALIGNANT))


def summed(probabilities: np.ndarray, classes: list[int]) -> np.ndarray:
    """The summed probability (N,) of the columns ``classes``, added in their type."""
    return probabilities[:, classes].sum(1).astype(float)


def in_class_order(probabilities: np.ndarray, classes: list[str]) -> np.ndarray:
    """Columns ``classes`` of (N, C) in the order of ``CLASSES``, float32, 0 for a class that the model lacks."""
    reordered = np.zeros((len(probabilities), len(CLASSES)), np.float32)
    reordered[:, class_indices(classes)] = probabilities
    return reordered


def model_of(checkpoint: Path) -> tuple[str, str]:
    """The :attr:`Predictions.model` of a checkpoint's file."""
    return checkpoint.name, sha256(checkpoint)[:12]


def _digits(value: float) -> str:
    """``value`` with nine digits, which identify any float32."""
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
