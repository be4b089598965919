"""Photographs in folders, found in the same way by the command line, the batch, training and evaluation."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from api.photograph import EXTENSIONS
from api.pictures import is_explanation

SYSTEM_FOLDERS = ("__macosx", "@eadir", "$recycle.bin", "#recycle")
"""Made by archives and network drives, with thumbnails or copies. Folders with a leading dot are hidden."""

_RAW = ("3fr", "arw", "cr2", "cr3", "crw", "dng", "erf", "iiq", "kdc", "mrw", "nef", "nrw", "orf", "pef", "raf", "raw")
_MORE_RAW = ("rw2", "rwl", "sr2", "srf", "srw", "x3f")
UNREADABLE: dict[str, str] = {
    **dict.fromkeys((*_RAW, *_MORE_RAW), "is a camera's RAW file: export it as JPEG"),
    **dict.fromkeys(("dcm", "dicom"), "is a DICOM file: export it as JPEG or PNG"),
    **dict.fromkeys(("avif", "jxl", "jp2", "j2k", "jpf", "jpx", "psd", "psb", "xcf", "tga", "svg", "eps"), ""),
}
"""Extensions of photographs and pictures that the model's own reader does not open, and what to do about each."""


class Kind(Enum):
    """What was found."""

    PHOTOGRAPH = "photograph"
    EXPLANATION = "explanation"  # a picture that we drew
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Found:
    """A file in a folder, or a folder that cannot be read.

    Attributes:
        path: below the folder that was searched.
        kind: what it is.
        reason: why it is unreadable, for a sentence that begins with its name; empty otherwise.
    """

    path: Path
    kind: Kind = Kind.PHOTOGRAPH
    reason: str = ""


def find_photographs(folder: Path) -> Iterator[Found]:
    """What is in ``folder``: the files of a folder in the order of their names, then its subfolders.

    Hidden files and those of the operating system are left out silently, and so is everything without the extension of
    a picture. Links to folders are followed, each folder once. Whatever looks like a photograph and cannot be read is
    found as :attr:`Kind.UNREADABLE`.
    """
    yield from _walk(folder, set())


def _walk(folder: Path, visited: set[tuple[int, int]]) -> Iterator[Found]:
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in visited:
            return
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            found = sorted((entry.name, entry.is_dir()) for entry in entries if not _is_hidden(entry.name))
    except OSError as error:
        yield Found(folder, Kind.UNREADABLE, f"cannot be read ({error.strerror})")
        return
    for name, is_folder in found:
        if not is_folder and (file := classify(folder / name)):
            yield file
    for name, is_folder in found:
        if is_folder:
            yield from _walk(folder / name, visited)


def classify(path: Path) -> Found | None:
    """What a file is, by its extension, its size and, for a picture of ours, its metadata; None if no picture."""
    extension = path.suffix.lower().removeprefix(".")
    if extension in UNREADABLE:
        reason = UNREADABLE[extension] or f"is a picture of a kind that is not read ({extension}): save it as JPEG"
        return Found(path, Kind.UNREADABLE, reason)
    if extension not in EXTENSIONS:
        return None
    if is_explanation(path):
        return Found(path, Kind.EXPLANATION)
    try:
        empty = path.stat().st_size == 0
    except OSError as error:  # a link to nowhere
        return Found(path, Kind.UNREADABLE, f"cannot be read ({error.strerror})")
    return Found(path, Kind.UNREADABLE, "is empty") if empty else Found(path)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM_FOLDERS
