"""Labelled sets of photographs: HAM10000's folder layout, or a folder and a CSV file; splits of them by lesion."""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image
from tqdm import tqdm

from api.classes import CLASSES, class_code
from api.folders import UNREADABLE
from api.photograph import ImageError
from api.tables import MAX_REPORTED, Row, Table, TableError, image_id, path_of, read_table
from evaluate.photographs import listed, photographs_of
from handler.model.images import SIZE, read_square

METADATA = "HAM10000_metadata.csv"
FOLDERS = {"train": "HAM10000_images_train", "test": "HAM10000_images_test"}

_METADATA = re.compile(r"ham10000_metadata(\.(csv|tab|tsv|txt))?", re.IGNORECASE)
_PART = re.compile(r"(ham10000_)?images_part_?\d+", re.IGNORECASE)
"""As downloaded: the table may lack its extension, and two folders have all images."""

TEST_SHARE = 0.2
"""Of the lesions of HAM10000 as downloaded, which has no folders for training and testing."""


class DataError(ValueError):
    """The data folder is not as documented. The message says what to change in which file, a line for each fault."""


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


@dataclass(kw_only=True)
class Found:
    """What was found in a data set's folders.

    Attributes:
        examples: photographs of the classes.
        notes: what was left out or decided, a line each.
        faults: what has to be corrected, a line each.
    """

    examples: list[Example] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def checked(self) -> Self:
        """The same.

        Raises:
            DataError: there are faults.
        """
        if self.faults:
            raise DataError(listed(self.faults))
        return self


@dataclass(kw_only=True)
class FoundExamples(Found):
    """The examples of HAM10000, sorted by image.

    Attributes:
        folder: that their files are below.
        is_split_here: whether HAM10000 is as downloaded, and was split by :func:`is_for_testing`.
    """

    folder: Path
    is_split_here: bool = False


def find_examples(root: str | Path, split: str) -> list[Example]:
    """All examples of ``split`` (``"train"`` or ``"test"``) under ``root``, subfolders included, sorted by image.

    Raises:
        DataError: a folder, column or row is missing, or an image or class is unknown.
    """
    return find_ham10000(root, split).checked().examples


def find_ham10000(root: str | Path, split: str) -> FoundExamples:
    """As :func:`find_examples`, with what was left out and what is wrong.

    The images are in a folder for each split, or as downloaded in ``HAM10000_images_part_1`` and ``_part_2``, which
    may be in subfolders; these are split by lesion.

    Raises:
        DataError: there are no images, or no table.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder: give the one that holds {METADATA} and {FOLDERS['train']}/")
    parts = [] if any((root / name).is_dir() for name in FOLDERS.values()) else _named(root, _PART)
    found = FoundExamples(folder=root if parts else root / FOLDERS[split], is_split_here=bool(parts))
    if not found.folder.is_dir():
        raise DataError(
            f"{found.folder} is missing: it holds the images of the {split} split (or leave HAM10000_images_part_1 and "
            "HAM10000_images_part_2 as downloaded, and they are split by lesion)"
        )
    tables = [path for path in _named(root, _METADATA) if path.is_file()]
    if not tables:
        raise DataError(f"{root / METADATA} is missing: it holds a row per image (columns image_id, dx, lesion_id)")
    try:
        table = read_table(tables[0], ("image", "dx", "lesion_id"))
    except TableError as error:
        raise DataError(str(error)) from None
    rows = _rows_by_image(table)
    photographs = photographs_of(parts or [found.folder], rows.keys())
    if not photographs.files and not photographs.unnamed and not photographs.faults:
        raise DataError(f"{found.folder} holds no image")
    for image, path in photographs.files.items():
        example = _example(table, rows[image], path)
        if example and not example.lesion:
            table.refuse(rows[image], f"no lesion_id of {image}", "one, as the split keeps each lesion to one side")
        elif example:
            found.examples.append(example)
    found.notes = photographs.notes()
    unnamed = [f"{path} has no row in {table.name} (image_id {path.stem})" for path in photographs.unnamed]
    found.faults = _faults(table) + photographs.faults + unnamed
    if parts:
        testing = [example for example in found.examples if is_for_testing(example.lesion)]
        training = [example for example in found.examples if not is_for_testing(example.lesion)]
        missing = (
            f"; {len(rows.keys() - photographs.files)} rows have no image" if rows.keys() - photographs.files else ""
        )
        found.notes.insert(
            0,
            f"HAM10000 as downloaded, split by lesion (SHA-256 of lesion_id): {len(training)} images for training, "
            f"{len(testing)} for testing{missing}",
        )
        found.examples = testing if split == "test" else training
    return found


def is_for_testing(lesion: str) -> bool:
    """Whether a lesion of HAM10000 as downloaded is for testing: a fifth, whatever else is there."""
    return int.from_bytes(hashlib.sha256(lesion.encode()).digest()[:8], "big") < TEST_SHARE * 2**64


def _named(root: Path, pattern: re.Pattern[str]) -> list[Path]:
    """Files and folders below ``root`` with such a name, the ones nearest to it first."""
    named = [
        Path(folder, name)
        for folder, folders, files in os.walk(root)
        for name in folders + files
        if pattern.fullmatch(name)
    ]
    return sorted(named, key=lambda path: (len(path.parts), path.name))


def _rows_by_image(table: Table) -> dict[str, Row]:
    """The row of each ``image_id``; of several that agree, the first. Problems are noted in ``table``."""
    rows: dict[str, Row] = {}
    for row in table.rows:
        image = image_id(row["image"])
        if not image:
            table.refuse(row, "no image", "its image_id or file name")
            continue
        first = rows.setdefault(image, row)
        if (class_code(first["dx"]) or first["dx"], first["lesion_id"]) != (
            class_code(row["dx"]) or row["dx"],
            row["lesion_id"],
        ):
            table.refuse(row, f"another row of {image} than on line {first.line}", "rows that agree: keep one")
    return rows


def _example(table: Table, row: Row, path: Path) -> Example | None:
    """The example of a row; None, with a problem noted in ``table``, if its class is none."""
    code = table.diagnosis(row)
    if code is None:
        return None
    return Example(path, list(CLASSES).index(code), row["lesion_id"], *patient_fields(row.values))


def _faults(table: Table) -> list[str]:
    return [f"{table.name}: {problem}" for problem in sorted(table.problems, key=lambda each: each.line or 0)]


def find_labelled(folder: str | Path, labels: str | Path) -> list[Example]:
    """The images of ``folder`` that the table ``labels`` names, in its order.

    It has the columns ``file`` (path inside ``folder``, or the file's name without extension) and ``dx``, and
    optionally ``lesion_id``, ``age``, ``sex`` and ``localization``.

    Raises:
        DataError: the folder, a column or a file is missing, a class is unknown, or a file is named twice or outside.
    """
    folder, labels = Path(folder), Path(labels)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: give the one that holds the images")
    examples: dict[Path, Example] = {}
    try:
        table = read_table(labels, ("image", "dx"))
        files = photographs_of([folder], {image_id(row["image"]) for row in table.rows}).files
        lines: dict[Path, int] = {}
        for row in table.rows:
            path = _labelled_file(table, row, folder, files)
            if path and path in lines:
                table.refuse(row, f"{path.name} again, which is on line {lines[path]}", "one row for each image")
            elif path and (example := _example(table, row, path)):
                examples[path], lines[path] = example, row.line
        if not table.rows:
            table.refuse(None, "no row", "one for each image")
        table.raise_problems()
    except TableError as error:
        raise DataError(str(error)) from None
    return list(examples.values())


def _labelled_file(table: Table, row: Row, folder: Path, files: Mapping[str, Path]) -> Path | None:
    """The file that a row names; None, with a problem noted in ``table``, if there is none."""
    text, inside = row["image"], os.path.abspath(folder)
    name = Path(text) if os.path.isfile(folder / text) else Path(path_of(text))
    if os.path.isabs(text) and Path(text).is_relative_to(inside):
        name = Path(text).relative_to(inside)
    elif text.startswith(("/", "\\")) or text[1:2] == ":" or ".." in name.parts or name == Path():
        table.refuse(row, repr(text), f"a file inside {folder}: its path relative to the folder")
        return None
    extension = name.suffix.lower().removeprefix(".")
    if os.path.isfile(folder / name):  # unlike Path.is_file, it accepts any text
        if extension in UNREADABLE:
            table.refuse(row, f"{name}, which {UNREADABLE[extension] or 'is not read'}", "a photograph")
            return None
        return folder / name
    if not extension and str(name) in files:
        return files[str(name)]
    table.refuse(row, f"{str(name)!r}, which is missing in {folder}", "a file that is there")
    return None


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
        DataError: images cannot be read; the first ten are named.
    """
    squares = np.empty((len(examples), side, side, 3), np.uint8)

    def read(number: int) -> str | None:
        example = examples[number]
        try:
            squares[number] = read_square(example.path.read_bytes(), side)
        except (ImageError, OSError) as error:
            return f"{example.path}: {error}"
        return None

    with ThreadPoolExecutor(workers) as pool:
        # disable=None: no progress bar unless on a terminal.
        done = pool.map(read, range(len(examples)))
        progress = tqdm(done, total=len(examples), desc=description, unit="img", leave=False, disable=None)
        faults = list(islice(filter(None, progress), MAX_REPORTED))
        pool.shutdown(cancel_futures=True)
    if faults:
        raise DataError("\n".join(faults))
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


def patient_fields(row: Mapping[str, str | None]) -> tuple[float | None, str, str]:
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


def text_of(row: Mapping[str, str | None], column: str) -> str:
    """A row's value without surrounding blanks, empty if it has none."""
    return (row.get(column) or "").strip()
