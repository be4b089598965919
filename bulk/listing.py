"""The photographs of a run: one path a line in a file, which every machine reads its own part of.

Only the place of each shard in that file is held in memory, whatever the number of photographs.
"""

from __future__ import annotations

import csv
import hashlib
import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from api.photograph import EXTENSIONS

COLUMN = "file"


class ListingError(ValueError):
    """There are no photographs to classify. The message says why."""


@dataclass(frozen=True)
class Listing:
    """A file with a path a line, cut into shards of ``shard`` lines.

    Attributes:
        path: of the file.
        count: lines.
        shard: lines of every shard but the last.
        offsets: bytes before each shard.
        sha256: of the file.
    """

    path: Path
    count: int
    shard: int
    offsets: array[int]
    sha256: str

    @classmethod
    def of(cls, path: Path, shard: int) -> Listing:
        """Read the file once, a line at a time."""
        digest, offsets, count, position = hashlib.sha256(), array("Q"), 0, 0
        with path.open("rb") as file:
            for line in file:
                if count % shard == 0:
                    offsets.append(position)
                digest.update(line)
                position += len(line)
                count += 1
        return cls(path, count, shard, offsets, digest.hexdigest())

    def size_of(self, shard: int) -> int:
        """Lines of a shard."""
        return min(self.shard, self.count - shard * self.shard)

    def paths(self, shard: int) -> list[str]:
        """The paths of a shard."""
        with self.path.open("rb") as file:
            file.seek(self.offsets[shard])
            return [os.fsdecode(file.readline().rstrip(b"\n")) for _ in range(self.size_of(shard))]


def write_listing(source: Path, target: Path) -> None:
    """Write the paths of ``source`` to ``target``, each absolute.

    ``source`` is a folder, which is searched with all folders in it in the order of their names, or a file: a CSV with
    a column ``file``, or a path a line. Its paths are taken from its own folder.

    Raises:
        ListingError: it is neither, has no photograph, or a path with a line break in it.
    """
    if source.is_dir():
        paths = _found(source)
    elif source.is_file():
        paths = _listed(source)
    else:
        raise ListingError(f"{source} is neither a folder nor a file")
    partial = target.with_name(f"{target.name}.partial")
    count = 0
    try:
        with partial.open("wb") as file:
            for path in paths:
                line = os.fsencode(path)
                if b"\n" in line:
                    raise ListingError(f"{path!r} has a line break in its name: rename it")
                file.write(line + b"\n")
                count += 1
        if not count:
            raise ListingError(f"{source} has no photographs ({', '.join(sorted(EXTENSIONS))})")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _found(folder: Path) -> Iterator[str]:
    for where, folders, files in os.walk(folder.resolve()):
        folders.sort()
        for name in sorted(files):
            if os.path.splitext(name)[1].lower().lstrip(".") in EXTENSIONS and not name.startswith("."):
                yield os.path.join(where, name)


def _listed(source: Path) -> Iterator[str]:
    folder = str(source.resolve().parent)
    try:
        with source.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            if source.suffix.lower() == ".csv":
                rows = csv.DictReader(file)
                if COLUMN not in (rows.fieldnames or []):
                    raise ListingError(f"{source} has no column {COLUMN}")
                names: Iterator[str] = (row[COLUMN] or "" for row in rows)
            else:
                names = (line.rstrip("\r\n") for line in file)
            for name in names:
                if name.strip():
                    yield os.path.join(folder, name)
    except csv.Error as error:
        raise ListingError(f"{source} is not a CSV file ({error})") from None
