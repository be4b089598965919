"""Deadlines passed between processes.

On one machine, a deadline is a time of the monotonic clock, so that time in a queue counts. On another machine, known
by its boot id, the remaining seconds count from when the header is read.
"""

from __future__ import annotations

import platform
import re
import time
from dataclasses import dataclass
from pathlib import Path


def _machine() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # not Linux
        return platform.node() or "unknown"


MACHINE = _machine()
_HEADER = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(?: (\d{1,12}(?:\.\d{1,9})?) (\S{1,100}))?")


@dataclass(frozen=True)
class Deadline:
    """A point in time.

    Attributes:
        at: in seconds of :func:`time.monotonic`.
    """

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline in ``seconds`` from now."""
        return cls(time.monotonic() + seconds)

    def left(self) -> float:
        """Seconds until then, at least 0."""
        return max(0.0, self.at - time.monotonic())

    def to_header(self) -> str:
        """``SECONDS INSTANT MACHINE``; a header written by hand needs only the first."""
        return f"{self.left():.3f} {self.at:.3f} {MACHINE}"

    @classmethod
    def from_header(cls, text: str) -> Deadline | None:
        """Parse what :meth:`to_header` returns; None if it cannot be parsed."""
        if not (match := _HEADER.fullmatch(text)):
            return None
        seconds, instant, machine = match.groups()
        latest = cls.after(float(seconds))
        return cls(min(float(instant), latest.at)) if machine == MACHINE else latest
