"""Photographs from other sources than HAM10000: a folder with ``metadata.csv`` and images below it."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from api.classes import CLASSES, class_code
from api.tables import TableError, image_id, read_table
from evaluate.dataset import Example, Found, OtherDisease, patient_fields
from evaluate.photographs import photographs_of

METADATA = "metadata.csv"

HAM10000 = "HAM10000"
"""Name of the source of the photographs in HAM10000's own folder."""

HELD_OUT_SOURCES = ("milk10k",)
"""Sources that have a validation and a test part; all photographs of the others are for training."""

VALIDATION, TEST = 0.10, 0.15
"""Shares of each class's lesions in these parts."""

SAME_LESIONS = Path(__file__).with_name("same_lesions.csv")
"""Photographs of other sources that show a lesion of HAM10000: image_id, lesion_id (``main_same_lesions.py``)."""


@dataclass(kw_only=True)
class Sources(Found):
    """Photographs of one or several folders.

    Attributes:
        others: those of other diseases.
    """

    others: list[OtherDisease] = field(default_factory=list)

    def summary(self) -> str:
        """One line: photographs of each source, and of diseases that are none of the classes."""
        counts = Counter(example.source for example in self.examples)
        line = ", ".join(f"{count} of {source}" for source, count in sorted(counts.items()))
        if self.others:
            diseases = Counter(other.dx for other in self.others)
            counted = ", ".join(f"{dx} {count}" for dx, count in sorted(diseases.items()))
            line += f"; {len(self.others)} of other diseases are left out ({counted})"
        return "; ".join([line, *self.notes])


@dataclass(frozen=True)
class Split:
    """The photographs of other sources by their use; ``excluded`` are used for nothing.

    ``matched`` counts photographs that would be held out, but are for training as HAM10000's training part has their
    lesion.
    """

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    excluded: list[Example]
    matched: int

    def summary(self) -> str:
        """One line: how many photographs each use has."""
        return (
            f"{len(self.train)} for training, {len(self.validation)} for validation, {len(self.test)} for testing; "
            f"of lesions that HAM10000 also has, {self.matched} are for training instead of held out, and "
            f"{len(self.excluded)} are left out because HAM10000's validation part has them"
        )


def find_sources(folders: Iterable[str | Path]) -> Sources:
    """All photographs of ``folders``, subfolders included, in the order of their tables.

    A folder's ``metadata.csv`` has the columns ``image_id`` and ``dx``, and optionally ``lesion_id``, ``source``
    (default: the folder's name), ``age``, ``sex``, ``localization`` and ``skin_tone``.

    Raises:
        DataError: a folder, its table, a column or an image is missing, or an image has two rows or files.
    """
    return read_sources(folders).checked()


def read_sources(folders: Iterable[str | Path]) -> Sources:
    """As :func:`find_sources`, with the faults instead of an exception."""
    found = Sources()
    seen: dict[str, str] = {}
    for folder in map(Path, folders):
        if folder.is_dir():
            _read_source(found, folder, seen)
        else:
            found.faults.append(f"{folder} is not a folder: give one that holds {METADATA} and images")
    return found


def _read_source(found: Sources, folder: Path, seen: dict[str, str]) -> None:
    """Add the photographs of a folder; ``seen`` has the place of the row of each ``image_id``."""
    try:
        table = read_table(folder / METADATA, ("image", "dx"))
    except TableError as error:
        found.faults.append(str(error))
        return
    photographs = photographs_of([folder], {image_id(row["image"]) for row in table.rows})
    for row in table.rows:
        image, dx = image_id(row["image"]), class_code(row["dx"]) or row["dx"].lower()
        if not image or not dx:
            table.refuse(row, f"image_id {image!r} and dx {dx!r}", "both")
        elif image in seen:
            table.refuse(row, f"{image} again, which is on {seen[image]}", "one row for each image")
        elif image in photographs.unreadable:
            continue
        elif image not in photographs.files:
            table.refuse(row, f"{image}, of which {folder} has no image", "an image of this name")
        else:
            seen[image] = f"line {row.line} of {table.name}"
            source = row["source"] or folder.resolve().name
            path = photographs.files[image]
            if dx not in CLASSES:
                found.others.append(OtherDisease(path, dx, source))
                continue
            label, lesion = list(CLASSES).index(dx), row["lesion_id"] or image
            found.examples.append(Example(path, label, lesion, *patient_fields(row.values), source, row["skin_tone"]))
    found.faults += photographs.faults + [f"{table.name}: {problem}" for problem in table.problems]
    found.notes += photographs.notes()
    if photographs.unnamed:
        found.notes.append(f"{len(photographs.unnamed)} images in {folder} have no row")


def split_sources(
    examples: Sequence[Example],
    ham10000_validation: Iterable[Example],
    held_out_sources: Sequence[str] = HELD_OUT_SOURCES,
) -> Split:
    """Hold out shares of each class's lesions of ``held_out_sources``, the same ones in every run.

    A lesion's part depends on the SHA-256 of its name among those of its class, and so not on the order of the table.
    A lesion that HAM10000 also has (:data:`SAME_LESIONS` names one of its photographs) is not held out: all of its
    photographs are for training, or if HAM10000's validation part has it, excluded.
    """
    validation_lesions = {example.lesion for example in ham10000_validation}
    part_of: dict[tuple[str, str], str] = {}
    lesions: dict[tuple[str, int], set[str]] = {}
    for example in examples:
        if example.source in held_out_sources:
            lesions.setdefault((example.source, example.label), set()).add(example.lesion)
    for (source, _), names in lesions.items():
        ordered = sorted(names, key=lambda name: hashlib.sha256(f"{source}/{name}".encode()).digest())
        test = round(TEST * len(ordered))
        validation = test + round(VALIDATION * len(ordered))
        part_of.update({(source, name): "test" for name in ordered[:test]})
        part_of.update({(source, name): "validation" for name in ordered[test:validation]})
    same_as: dict[tuple[str, str], set[str]] = {}
    for example in examples:
        if same := same_lesions().get(example.path.stem):
            same_as.setdefault((example.source, example.lesion), set()).add(same)
    parts: dict[str, list[Example]] = {"train": [], "validation": [], "test": [], "excluded": []}
    matched = 0
    for example in examples:
        lesion = (example.source, example.lesion)
        part = part_of.get(lesion, "train")
        if lesion in same_as:
            held_out_there = not same_as[lesion].isdisjoint(validation_lesions)
            matched += part != "train" and not held_out_there
            part = "excluded" if held_out_there else "train"
        parts[part].append(example)
    return Split(**parts, matched=matched)


def by_source(examples: list[Example]) -> dict[str, list[Example]]:
    """``examples`` by their source, in alphabetical order."""
    names = sorted({example.source for example in examples})
    return {name: [example for example in examples if example.source == name] for name in names}


@cache
def same_lesions() -> dict[str, str]:
    """HAM10000's ``lesion_id`` of each photograph in :data:`SAME_LESIONS`, by ``image_id``."""
    with SAME_LESIONS.open(newline="", encoding="utf-8") as file:
        return {row["image_id"]: row["lesion_id"] for row in csv.DictReader(file)}
