"""HAM10000's folder layout: found, checked and decoded once, before the first epoch."""

from __future__ import annotations

import csv
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from handler.contract import CLASSES
from handler.images import SIZE, ImageError, network_square, open_photograph

METADATA = "HAM10000_metadata.csv"
FOLDERS = {"train": "HAM10000_images_train", "test": "HAM10000_images_test"}
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}

STORED = 256
"""Shorter side in pixels that training keeps in memory: room for crops above :data:`handler.images.SIZE`."""


class DataError(ValueError):
    """The data folder is not as documented. Its message names the file and what to change."""


@dataclass(frozen=True)
class Example:
    """One image of the data set; ``label`` is an index into ``CLASSES``."""

    path: Path
    label: int
    lesion: str


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
    files = sorted((p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES), key=lambda p: (p.stem, str(p)))
    if not files:
        raise DataError(f"{folder} holds no image ({', '.join(sorted(SUFFIXES))})")
    examples = []
    for previous, path in zip([None, *files], files, strict=False):
        if previous is not None and previous.stem == path.stem:
            raise DataError(f"{path} and {previous} are the same image_id: keep one")
        if path.stem not in rows:
            raise DataError(f"{path} has no row in {root / METADATA} (image_id {path.stem})")
        dx, lesion = rows[path.stem]
        if dx not in CLASSES:
            raise DataError(f"{root / METADATA}: image {path.stem} has dx {dx!r}; known are {', '.join(CLASSES)}")
        if not lesion:
            raise DataError(f"{root / METADATA}: image {path.stem} has no lesion_id, so it cannot be kept to one side")
        examples.append(Example(path, list(CLASSES).index(dx), lesion))
    return examples


def split_by_lesion(examples: list[Example], fraction: float, seed: int) -> tuple[list[Example], list[Example]]:
    """``(train, validation)``: whole lesions go to one side, each class giving about ``fraction`` of its lesions.

    Raises:
        DataError: too few lesions of a class to stand on both sides.
    """
    lesions: dict[int, list[str]] = {}
    label_of: dict[str, int] = {}
    for example in examples:
        label_of.setdefault(example.lesion, example.label)
    for lesion in sorted(label_of):
        lesions.setdefault(label_of[lesion], []).append(lesion)
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
    train = [e for e in examples if e.lesion not in held_out]
    validation = [e for e in examples if e.lesion in held_out]
    return train, validation


def class_counts(examples: list[Example]) -> dict[str, int]:
    """How many examples each class has, in the order of ``CLASSES``."""
    counts = Counter(e.label for e in examples)
    return {name: counts[i] for i, name in enumerate(CLASSES)}


def load_photographs(examples: list[Example], workers: int, description: str) -> list[np.ndarray]:
    """Decode every example once: ``uint8`` (height, width, 3) with a shorter side of at most :data:`STORED`.

    Raises:
        DataError: an image cannot be read.
    """
    return _load(examples, workers, description, _stored)


def load_squares(examples: list[Example], workers: int, description: str) -> np.ndarray:
    """What serving would give the network: ``uint8`` (N, 224, 224, 3), made by :mod:`handler.images`.

    Raises:
        DataError: an image cannot be read.
    """
    squares = np.empty((len(examples), SIZE, SIZE, 3), np.uint8)
    for i, square in enumerate(_load(examples, workers, description, network_square)):
        squares[i] = square
    return squares


def _load(examples, workers, description, shape):
    def read(example: Example) -> np.ndarray:
        try:
            return shape(open_photograph(example.path.read_bytes()))
        except (ImageError, OSError) as error:
            raise DataError(f"{example.path}: {error}") from None

    with ThreadPoolExecutor(workers) as pool:
        read_all = pool.map(read, examples)
        # No bar where nobody looks at it (disable=None), so that an error stands alone.
        return list(tqdm(read_all, total=len(examples), desc=description, unit="img", leave=False, disable=None))


def _stored(photograph: Image.Image) -> np.ndarray:
    scale = STORED / min(photograph.size)
    if scale < 1:
        size = tuple(max(STORED, round(side * scale)) for side in photograph.size)
        photograph = photograph.resize(size, Image.Resampling.BICUBIC)
    return np.array(photograph)


def _read_metadata(path: Path) -> dict[str, tuple[str, str]]:
    if not path.is_file():
        raise DataError(f"{path} is missing: it holds a row per image (columns image_id, dx, lesion_id)")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            for column in ("image_id", "dx", "lesion_id"):
                if column not in (reader.fieldnames or []):
                    raise DataError(f"{path} has no column {column!r}; it has {', '.join(reader.fieldnames or [])}")
            rows: dict[str, tuple[str, str]] = {}
            for row in reader:
                fields = (row["dx"], row["lesion_id"])
                if rows.setdefault(row["image_id"], fields) != fields:
                    raise DataError(f"{path} has two rows for image_id {row['image_id']} that do not agree: keep one")
            return rows
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8 ({error})") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from None
