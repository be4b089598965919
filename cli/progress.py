"""The line of progress in a terminal."""

from __future__ import annotations

import os
import sys
import threading
import unicodedata

_ERASE = "\r\x1b[K"


def is_terminal(stream: object) -> bool:
    """Whether ``stream`` is a terminal that can move its cursor."""
    return bool(getattr(stream, "isatty", bool)()) and os.environ.get("TERM") != "dumb"


def columns(stream: object) -> int:
    """Width of the terminal behind ``stream``; 80 if it does not know."""
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
    """``text`` on one line: a file name may have line breaks and escape sequences in it."""
    return "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else ascii(c)[1:-1] for c in text)


class Progress:
    """How many photographs are done, and how far the explanation of the first unfinished one is.

    Nothing is written where stderr is not a terminal.
    """

    def __init__(self, total: int | None) -> None:
        """``total`` is the number of photographs, None if unknown."""
        self.enabled = is_terminal(sys.stderr)
        self.total, self.done = total, 0
        self._running: dict[int, tuple[str, float]] = {}
        self._lock = threading.Lock()
        self._shown = False

    def show(self, number: int, name: str, share: float | None = None) -> None:
        """The explanation of the photograph ``number`` has come so far; ``share`` is from 0 to 1."""
        if not self.enabled:
            return
        with self._lock:
            self._running[number] = name, -1.0 if share is None else share
            name, first = self._running[min(self._running)]
            of = f" of {self.total}" if self.total is not None else ""
            before = f"{self.done + 1}{of}: " if self.total != 1 else ""
            after = f": explaining, {first:.0%}" if first >= 0 else ""
            room = columns(sys.stderr) - 1 - len(before) - len(after)
            line = f"{before}{shorten(printable(name), room)}{after}"
            self._write(_ERASE + shorten(line, columns(sys.stderr) - 1))
            self._shown = True

    def end(self, number: int) -> None:
        """The photograph ``number`` is answered."""
        with self._lock:
            self._running.pop(number, None)
            self.done += 1

    def clear(self) -> None:
        """Make room for a line of output."""
        with self._lock:
            if self._shown:
                self._write(_ERASE)
                self._shown = False

    def close(self) -> None:
        """Erase the line for good: threads may still be waiting for answers that nobody wants."""
        self.clear()
        self.enabled = False

    def _write(self, text: str) -> None:
        sys.stderr.write(text.encode("utf-8", "replace").decode())
        sys.stderr.flush()
