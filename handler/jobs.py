"""How long a request may take, who hears of its progress, and whether anybody still waits for it.

Whoever passes a request on (the gateway) says so in headers. Another request can say that nobody waits any more: it
reaches another worker process of the same machine, so the word is left in the temporary folder, as an empty file.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

POOL, EXPLAIN_POOL = "mlbio", "mlbio_explain"
"""The model's names in TorchServe: workers for all requests, and workers that are asked for explanations only."""

JOB_HEADER = "x-mlbio-job"
"""A name for the request, 32 hexadecimal digits, by which it can be cancelled."""

CANCEL_HEADER = "x-mlbio-cancel"
"""The name of a request that nobody waits for any more. The request that has it asks for nothing else."""

UNTIL_HEADER = "x-mlbio-until"
"""Unix time in seconds at which an explanation ends with the best so far."""

STREAM_TYPE = "application/x-ndjson"
"""Accepted by a client that wants to hear of the progress."""

KEPT_SECONDS = 3600.0
"""After so long, nobody will ask for a cancelled job again."""

_NAME = re.compile(r"[0-9a-f]{32}")


class Cancelled(Exception):
    """Nobody waits for the answer."""


@dataclass(frozen=True)
class Job:
    """One request's circumstances.

    Attributes:
        name: see :data:`JOB_HEADER`; None if it cannot be cancelled.
        until: see :data:`UNTIL_HEADER`; None if there is no deadline.
        report: told the share of the work that is done, from 0 to 1; None if nobody wants to know.
    """

    name: str | None = None
    until: float | None = None
    report: Callable[[float], None] | None = None

    @classmethod
    def from_headers(cls, headers: Mapping[str, str], report: Callable[[float], None]) -> Job:
        """What the headers say, in lower case; what is not understood is as if it were not there."""
        name = headers.get(JOB_HEADER, "")
        try:
            until = float(headers.get(UNTIL_HEADER, ""))
        except ValueError:
            until = None
        wants = STREAM_TYPE in headers.get("accept", "")
        return cls(name if _NAME.fullmatch(name) else None, until, report if wants else None)

    def progress(self, share: float) -> None:
        """Tell of the progress.

        Raises:
            Cancelled: nobody waits any more.
        """
        if self.name is not None:
            try:
                _mark(self.name).unlink()
            except FileNotFoundError:
                pass
            else:
                raise Cancelled(self.name)
        if self.report is not None:
            self.report(share)

    def seconds_left(self) -> float | None:
        """Until the deadline, never below 0; None if there is none."""
        return None if self.until is None else max(0.0, self.until - time.time())


def cancel(name: str) -> None:
    """Leave word that nobody waits for the job ``name``; no word is left for what cannot be one's name."""
    if not _NAME.fullmatch(name):
        return
    for old in _mark("*").parent.glob(_mark("*").name):
        try:
            if time.time() - old.stat().st_mtime > KEPT_SECONDS:
                old.unlink()
        except FileNotFoundError:
            pass
    _mark(name).touch()


def _mark(name: str) -> Path:
    return Path(tempfile.gettempdir()) / f"mlbio_cancelled_{name}"
