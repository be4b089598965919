"""Find and read photographs: files, folders, patterns and stdin."""

from __future__ import annotations

import glob
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from api.limits import MAX_FILE_BYTES
from api.photograph import EXTENSIONS
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

    Pictures of explanations, from an earlier run, are left out of folders and patterns.
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
            yield from _or_error(_folder(Path(name), Path(name)), name, "no photograph is in this folder (directory)")
        elif glob.has_magic(name) and not os.path.lexists(name):
            matches = (Path(match) for match in sorted(glob.iglob(name, recursive=True)))
            found = (Photograph(str(p), Path(p.name)) for p in matches if p.is_file() and not is_explanation(p))
            yield from _or_error(found, name, "no photograph matches this pattern")
        else:
            yield Photograph(name, Path(Path(name).name), skipped=is_explanation(Path(name)))


def _folder(folder: Path, root: Path) -> Iterator[Photograph]:
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except OSError as error:
        yield Photograph(str(folder), folder, error=f"cannot be read ({error.strerror})")
        return
    for name, is_folder in found:
        path = folder / name
        known = path.suffix.lower().removeprefix(".") in EXTENSIONS
        if known and not is_folder and not name.startswith(".") and not is_explanation(path):
            yield Photograph(str(path), path.relative_to(root))
    for name, is_folder in found:
        if is_folder and not name.startswith("."):
            yield from _folder(folder / name, root)


def _or_error(found: Iterator[Photograph], name: str, error: str) -> Iterator[Photograph]:
    empty = True
    for photograph in found:
        empty = False
        yield photograph
    if empty:
        yield Photograph(name, Path(name), error=error)
