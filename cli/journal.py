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


class JournalError(Exception):
    """The run cannot begin or go on. The message says what to change.

    Attributes:
        exit_code: of the command.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Journal:
    """A line with the settings, then a line for each finished row. Results of different settings are never mixed."""

    def __init__(self, folder: Path, settings: dict[str, Any], resume: bool) -> None:
        """Start a journal in ``folder``, or resume the one that is there.

        Raises:
            JournalError: it has results of other settings, or cannot be read or written.
        """
        self.path = folder / NAME
        self._earlier: dict[tuple[str, str], Row] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if resume:
                self._earlier = {(row.image, row.sha256): row for row in self._finished(settings)}
            elif self.path.exists():
                os.replace(self.path, folder / "results.previous.jsonl")
            # Without an incomplete last line, and without failures, which are tried again.
            with write_atomically(self.path) as partial, partial.open("w", encoding="utf-8") as file:
                file.writelines(map(_line, [{"settings": settings}, *self._earlier.values()]))
            self._file = self.path.open("a", encoding="utf-8")
        except OSError as error:
            reason = "it is a file" if isinstance(error, FileExistsError) else error.strerror
            raise JournalError(f"{folder} cannot be written ({reason}): choose another --output", 2) from None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def find(self, image: str, sha256: str) -> Row | None:
        """An earlier run's row for the same bytes under the same name, if its picture still exists."""
        row = self._earlier.get((image, sha256))
        return row if row and (row.picture is None or os.path.exists(row.picture)) else None

    def add(self, row: Row) -> None:
        """Append a row, unless it is an earlier run's.

        Raises:
            JournalError: it cannot be written.
        """
        if row is self._earlier.get((row.image, row.sha256)):
            return
        try:
            self._file.write(_line(row))
            self._file.flush()
        except OSError as error:
            raise JournalError(f"{self.path} cannot be written ({error.strerror})", 1) from None

    def _finished(self, settings: dict[str, Any]) -> Iterator[Row]:
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8", errors="replace") as file:
            if file.readline() != _line({"settings": settings}):
                raise JournalError(
                    f"{self.path} has results of other settings: choose another --output, or leave out --resume", 2
                )
            for line in file:
                try:
                    row = msgspec.convert(json.loads(line), Row)
                except (ValueError, msgspec.ValidationError):
                    continue  # the process was killed while writing it
                if row.error is None:
                    yield row


def _line(value: object) -> str:
    return json.dumps(msgspec.to_builtins(value)) + "\n"  # ASCII: a file name may contain what UTF-8 cannot encode
