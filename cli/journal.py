"""The journal of a run, ``results.jsonl`` in ``--output``, from which an interrupted run resumes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from api.files import write_atomically
from cli.output import Row

NAME = "results.jsonl"


class Journal:
    """A line with the settings, then a line for each finished row. Results of different settings are never mixed.

    Only the offset of each earlier row in the file is kept in memory.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], resume: bool) -> None:
        """Start a journal in ``folder``, or resume the one that is there.

        Raises:
            JournalError: it has results of other settings.
            OSError: it cannot be read or written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / NAME
        self._offsets: dict[bytes, int] = {}
        # Rewritten without an incomplete last line, and without failures, which are tried again.
        with write_atomically(self.path) as partial:
            with partial.open("w", encoding="utf-8") as file:
                file.write(json.dumps({"settings": settings}) + "\n")
                if resume:
                    for row in self._finished(settings):
                        key = _key(row.image, row.sha256)
                        if key not in self._offsets:
                            self._offsets[key] = file.tell()
                            file.write(_line(row))
            if not resume and self.path.exists():
                os.replace(self.path, folder / "results.previous.jsonl")
        self._file = self.path.open("a", encoding="utf-8")

    def find(self, image: str, sha256: str) -> Row | None:
        """An earlier run's row for the same bytes under the same name, if its picture still exists."""
        offset = self._offsets.get(_key(image, sha256))
        if offset is None:
            return None
        with self.path.open(encoding="utf-8") as file:
            file.seek(offset)
            row = _row(file.readline())
        return row if row and (row.picture is None or os.path.exists(row.picture)) else None

    def add(self, row: Row) -> None:
        """Append a row.

        Raises:
            OSError: it cannot be written.
        """
        self._file.write(_line(row))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _finished(self, settings: dict[str, Any]) -> Iterator[Row]:
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8", errors="replace") as file:
            try:
                first = json.loads(file.readline())
            except ValueError:
                first = None
            if not isinstance(first, dict) or first.get("settings") != settings:
                raise JournalError(
                    f"{self.path} has results of other settings: choose another --output, or leave out --resume"
                )
            for line in file:
                row = _row(line)
                if row is not None and row.error is None:
                    yield row


class JournalError(Exception):
    """The journal does not fit this run. The message says what to change."""


def _key(image: str, sha256: str) -> bytes:
    return bytes.fromhex(sha256)[:16] + os.fsencode(image)


def _line(row: Row) -> str:
    return json.dumps(msgspec.to_builtins(row)) + "\n"  # ASCII: a file name may contain what UTF-8 cannot encode


def _row(line: str) -> Row | None:
    try:
        return msgspec.convert(json.loads(line), Row)
    except (ValueError, msgspec.ValidationError):
        return None  # the process was killed while writing it
