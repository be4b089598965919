"""The terminal: the width of texts, and the line of progress."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm


def is_terminal(stream: object) -> bool:
    """Whether ``stream`` is a terminal that can move its cursor."""
    return bool(getattr(stream, "isatty", bool)()) and os.environ.get("TERM") != "dumb"


def columns(stream: object) -> int:
    """Width of the terminal behind ``stream``; 80 if it is unknown."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80  # type: ignore[attr-defined]
    except (OSError, ValueError, AttributeError):
        return 80


def width(text: str) -> int:
    """Columns that ``text`` takes: none for a combining accent, two for a wide character."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def shorten(text: str, most: int) -> str:
    """The end of ``text``, which tells files apart, in at most ``most`` columns."""
    if width(text) <= most:
        return text
    while text and width(text) > most - 1:
        text = text[1:]
    return f"…{text}" if most > 0 else ""


def printable(text: str) -> str:
    """``text`` on one line: a file name may contain line breaks and escape sequences."""
    return "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else ascii(c)[1:-1] for c in text)


class Progress:
    """How many photographs are done, the time left, and how far the explanation of the first unfinished one is.

    Nothing is written where stderr is not a terminal.
    """

    def __init__(self, total: int | None) -> None:
        """``total`` is the number of photographs, None if unknown."""
        self._running: dict[int, str] = {}
        self._bar = tqdm(
            total=total,
            bar_format="{desc}" if total == 1 else "{n_fmt}/{total_fmt} [{elapsed}<{remaining}] {desc}",
            leave=False,
            ncols=columns(sys.stderr),
            nrows=3,  # given, as tqdm draws nothing in a terminal of unknown size
            disable=not is_terminal(sys.stderr),
        )

    def show(self, number: int, name: str, share: float | None = None) -> None:
        """The photograph ``number`` is being classified, or its explanation has come so far, from 0 to 1."""
        text = printable(os.path.basename(name)).encode("utf-8", "replace").decode()
        with self._bar.get_lock():
            self._running[number] = text if share is None else f"{text}: explaining, {share:.0%}"
            self._bar.set_description_str(self._running[min(self._running)])

    def end(self, number: int) -> None:
        """The photograph ``number`` is done."""
        with self._bar.get_lock():
            self._running.pop(number, None)
            self._bar.update()

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Without the line, so that output can be written: no thread draws it in the meantime."""
        with tqdm.external_write_mode():
            yield

    def close(self) -> None:
        """Erase the line for good: threads may still be waiting for answers that will not be used."""
        self._bar.close()
