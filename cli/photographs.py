"""Find and read photographs: files, folders, patterns and stdin."""

from __future__ import annotations

import glob
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from api.folders import Found, Kind, classify, find_photographs, is_hidden
from api.limits import MAX_FILE_BYTES
from api.pictures import is_explanation

STDIN = "-"


class FileError(Exception):
    """A photograph cannot be read or a picture cannot be written. The message says why."""


@dataclass(frozen=True)
class Photograph:
    """One photograph to classify, or an argument that names none.

    Attributes:
        name: as it was given, or as it was found.
        place: its path relative to the folder that was given, to be used below ``--output``.
        error: why there is no photograph; None if there may be one.
        skipped: whether it is a picture of an explanation, which is not explained again.
    """

    name: str
    place: Path
    error: str | None = None
    skipped: bool = False

    def read(self) -> bytes:
        """The bytes of the file.

        Raises:
            FileError: there is none, or it cannot be read, or is too large.
        """
        if self.error is not None:
            raise FileError(self.error)
        try:
            if self.name == STDIN:
                content = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
            else:
                with open(self.name, "rb") as file:
                    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                        size = os.fstat(file.fileno()).st_size
                        if size > MAX_FILE_BYTES:
                            raise FileError(f"is over {MAX_FILE_BYTES // 2**20} MiB: make it smaller")
                    content = file.read(MAX_FILE_BYTES + 1)  # a device may have no end
        except OSError as error:
            raise FileError(f"cannot be read ({error.strerror})") from None
        if not content:
            raise FileError("is empty (0 bytes): copy or download it again")
        if len(content) > MAX_FILE_BYTES:
            raise FileError(f"is over {MAX_FILE_BYTES // 2**20} MiB: make it smaller")
        return content


def find(names: Iterable[str]) -> Iterator[Photograph]:
    """The photographs that ``names`` stand for; a folder's are sorted, and its subfolders come last.

    Folders are searched as :func:`api.folders.find_photographs` says, and patterns match the same kinds of files.
    """
    stdin_used = False
    for name in names:
        if name == STDIN:
            if stdin_used:
                yield Photograph(name, Path(name), error="stdin is named twice, and can be read once")
            elif sys.stdin is None or sys.stdin.isatty():
                yield Photograph(name, Path(name), error="stdin is a terminal: send a photograph to it, < photo.jpg")
            else:
                yield Photograph(name, Path("stdin"))
            stdin_used = True
        elif os.path.isdir(name):
            folder = Path(name)
            found = (_photograph(file, file.path.relative_to(folder)) for file in find_photographs(folder))
            yield from _or_error(found, name, "no photograph is in this folder (directory)")
        elif glob.has_magic(name) and not os.path.lexists(name):
            matches = (Path(match) for match in sorted(glob.iglob(name, recursive=True)))
            files = (classify(p) for p in matches if not p.is_dir() and not _is_hidden(p, Path(name)))
            found = (_photograph(file, Path(file.path.name)) for file in files if file)
            yield from _or_error(found, name, "no photograph matches this pattern")
        else:
            yield Photograph(name, Path(Path(name).name), skipped=is_explanation(Path(name)))


def _is_hidden(path: Path, pattern: Path) -> bool:
    """Whether a part of ``path`` that the pattern does not spell out is hidden."""
    return any(is_hidden(part) for part in path.parts if part not in pattern.parts)


def _photograph(found: Found, place: Path) -> Photograph:
    return Photograph(str(found.path), place, error=found.reason or None, skipped=found.kind is Kind.EXPLANATION)


def _or_error(found: Iterator[Photograph], name: str, error: str) -> Iterator[Photograph]:
    empty = True
    for photograph in found:
        empty = empty and photograph.skipped
        yield photograph
    if empty:
        yield Photograph(name, Path(name), error=error)
