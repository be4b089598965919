"""Labelled sets of photographs: HAM10000's folder layout, or a folder and a CSV file; splits of them by lesion."""

from __future__ import annotations

import argparse
import csv
import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from api.classes import CLASSES
from api.photograph import ImageError
from handler.model.images import SIZE, read_square

METADATA = "HAM10000_metadata.csv"
FOLDERS = {"train": "HAM10000_images_train", "test": "HAM10000_images_test"}
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


class DataError(ValueError):
    """The data folder is not as documented. The message names the file and says what to change."""


@dataclass(frozen=True)
class Example:
    """One image of a data set; ``label`` is an index into ``CLASSES``.

    ``lesion``, ``sex`` and ``site`` (on the body) are empty if not known; ``age``, in years, is None. ``source`` is
    empty in HAM10000's own folder; ``skin_tone`` is a digit from 0 (very dark) to 5 (very light), or empty.
    """

    path: Path
    label: int
    lesion: str
    age: float | None = None
    sex: str = ""
    site: str = ""
    source: str = ""
    skin_tone: str = ""


@dataclass(frozen=True)
class OtherDisease:
    """A photograph of a disease that is none of the classes."""

    path: Path
    dx: str
    source: str


def find_examples(root: str | Path, split: str) -> list[Example]:
    """All examples of ``split`` (``"train"`` or ``"test"``) under ``root``, subfolders included, sorted by image.

    Raises:
        DataError: a folder, column or row is missing, or an image or class is unknown.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder: give the one that holds {METADATA} and {FOLDERS['train']}/")
    folder = root / FOLDERS[split]
    if not folder.is_dir():
        raise DataError(f"{folder} is missing: it holds the images of the {split} split")
    rows = _read_metadata(root / METADATA)
    files = image_files(folder)
    if not files:
        raise DataError(f"{folder} holds no image ({', '.join(sorted(SUFFIXES))})")
    examples = []
    for path in files.values():
        if path.stem not in rows:
            raise DataError(f"{path} has no row in {root / METADATA} (image_id {path.stem})")
        row, image = rows[path.stem], f"{root / METADATA}: image {path.stem}"
        label, lesion = label_of(row["dx"], image), row["lesion_id"]
        if not lesion:
            raise DataError(f"{image} has no lesion_id, so the split cannot keep it to one side")
        examples.append(Example(path, label, lesion, *patient_fields(row)))
    return examples


def image_files(folder: Path) -> dict[str, Path]:
    """The image files of ``folder``, subfolders included, by ``image_id`` (the name without suffix), sorted by it.

    Raises:
        DataError: two of them have the same name.
    """
    files: dict[str, Path] = {}
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    for path in sorted(found, key=lambda path: (path.stem, str(path))):
        if files.setdefault(path.stem, path) != path:
            raise DataError(f"{path} and {files[path.stem]} are the same image_id: keep one")
    return files


def find_labelled(folder: str | Path, labels: str | Path) -> list[Example]:
    """The images of ``folder`` that the CSV file ``labels`` names, in its order.

    It has the columns ``file`` (path inside ``folder``) and ``dx``, and optionally ``lesion_id``, ``age``, ``sex`` and
    ``localization``.

    Raises:
        DataError: the folder, a column or a file is missing, a class is unknown, or a file is named twice or outside.
    """
    folder, labels = Path(folder), Path(labels)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: give the one that holds the images")
    examples: dict[Path, Example] = {}
    for row in read_rows(labels, ("file", "dx")):
        name = Path(text_of(row, "file"))
        if name.is_absolute() or ".." in name.parts or name == Path():
            raise DataError(
                f"{labels}: {str(name)!r} is not a file inside {folder}: give its path relative to the folder"
            )
        label = label_of(text_of(row, "dx"), f"{labels}: {name}")
        if not os.path.isfile(folder / name):  # unlike Path.is_file, it accepts any text
            raise DataError(f"{folder / name} is missing: {labels} names it")
        if name in examples:
            raise DataError(f"{labels} has two rows for {name}: keep one")
        examples[name] = Example(folder / name, label, text_of(row, "lesion_id"), *patient_fields(row))
    if not examples:
        raise DataError(f"{labels} has no row: it holds one for each image")
    return list(examples.values())


def split_by_lesion(examples: list[Example], fraction: float, seed: int) -> tuple[list[Example], list[Example]]:
    """``(train, validation)``: each lesion is on one side; validation gets about ``fraction`` of each class's lesions.

    Raises:
        DataError: a class has too few lesions for both sides.
    """
    lesions: dict[int, list[str]] = {}
    for lesion, label in _labels_of_lesions(examples).items():
        lesions.setdefault(label, []).append(lesion)
    rng = np.random.default_rng(seed)
    held_out: set[str] = set()
    for label in sorted(lesions):
        names = lesions[label]
        if len(names) < 2:
            raise DataError(
                f"class {list(CLASSES)[label]} has {len(names)} lesion in the training images: at least 2 are needed, "
                "one to learn from and one to validate on"
            )
        count = min(max(1, round(fraction * len(names))), len(names) - 1)
        held_out.update(names[i] for i in rng.permutation(len(names))[:count])
    return _divide(examples, held_out)


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
    label_by_lesion = _labels_of_lesions(examples)
    lesions, labels = list(label_by_lesion), np.array(list(label_by_lesion.values()))
    counts = np.bincount(labels, minlength=len(CLASSES))
    for label in np.flatnonzero((counts > 0) & (counts < fold.count)):
        raise DataError(
            f"class {list(CLASSES)[label]} has {counts[label]} lesions in the training images, fewer than the "
            f"{fold.count} folds: give fewer folds"
        )
    from sklearn.model_selection import StratifiedKFold  # its import takes seconds

    folds = StratifiedKFold(fold.count, shuffle=True, random_state=seed).split(lesions, labels)
    return _divide(examples, {lesions[i] for i in list(folds)[fold.number - 1][1]})


def _labels_of_lesions(examples: Sequence[Example]) -> dict[str, int]:
    """The label of each lesion, sorted by lesion; of its first example if they differ."""
    return dict(sorted({e.lesion: e.label for e in reversed(examples)}.items()))


def _divide(examples: list[Example], held_out: set[str]) -> tuple[list[Example], list[Example]]:
    return [e for e in examples if e.lesion not in held_out], [e for e in examples if e.lesion in held_out]


def class_counts(examples: list[Example]) -> dict[str, int]:
    """How many examples each class has, in the order of ``CLASSES``."""
    counts = Counter(e.label for e in examples)
    return {name: counts[i] for i, name in enumerate(CLASSES)}


def load_squares(
    examples: Sequence[Example | OtherDisease], workers: int, description: str, side: int = SIZE
) -> np.ndarray:
    """The centre squares of all examples, ``uint8`` (N, side, side, 3), preprocessed as in serving.

    Raises:
        DataError: an image cannot be read.
    """
    squares = np.empty((len(examples), side, side, 3), np.uint8)

    def read(number: int) -> None:
        example = examples[number]
        try:
            squares[number] = read_square(example.path.read_bytes(), side)
        except (ImageError, OSError) as error:
            raise DataError(f"{example.path}: {error}") from None

    with ThreadPoolExecutor(workers) as pool:
        # disable=None: no progress bar unless on a terminal.
        done = pool.map(read, range(len(examples)))
        for _ in tqdm(done, total=len(examples), desc=description, unit="img", leave=False, disable=None):
            pass
    return squares


def short_sides(examples: list[Example], workers: int) -> np.ndarray:
    """The shorter sides of the examples' image files in pixels (N,).

    Raises:
        DataError: an image cannot be read.
    """

    def side(example: Example) -> int:
        try:
            with Image.open(example.path) as image:
                return min(image.size)
        except OSError as error:
            raise DataError(f"{example.path}: {error}") from None

    with ThreadPoolExecutor(workers) as pool:
        return np.array(list(pool.map(side, examples)), int)


def _read_metadata(path: Path) -> dict[str | None, dict[str, str | None]]:
    rows: dict[str | None, dict[str, str | None]] = {}
    for row in read_rows(path, ("image_id", "dx", "lesion_id")):
        first = rows.setdefault(row["image_id"], row)
        if (first["dx"], first["lesion_id"]) != (row["dx"], row["lesion_id"]):
            raise DataError(f"{path} has two rows for image_id {row['image_id']} that do not agree: keep one")
    return rows


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


def patient_fields(row: dict[str, str | None]) -> tuple[float | None, str, str]:
    """``(age, sex, site)`` of a row, as in :class:`Example`."""
    try:
        age = float(text_of(row, "age"))
    except ValueError:
        age = math.nan
    sex, site = (text_of(row, column).lower() for column in ("sex", "localization"))
    unknown = ("unknown", "na", "n/a", "nan", "none")
    return (
        age if 0 <= age < math.inf else None,
        "" if sex in unknown else sex,
        "" if site in unknown else site,
    )


def text_of(row: dict[str, str | None], column: str) -> str:
    """A row's value without surrounding blanks, empty if it has none."""
    return (row.get(column) or "").strip()
