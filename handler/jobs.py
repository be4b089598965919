"""Deadlines, progress reports and cancellation of requests.

The gateway sends deadlines and ids in headers. A cancellation is a separate request, which may reach another worker
process. It is therefore recorded as an empty file in the temporary folder that all workers of a machine share.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from api.deadline import Deadline
from api.headers import DEADLINE_HEADER, EXPIRY_HEADER, JOB_HEADER, REQUEST_ID_HEADER, STREAM_TYPE

MAX_MARKER_AGE = 3600.0
"""Seconds after which a marker is deleted, long after its job has ended."""

MAX_ID_LENGTH = 64
"""Characters of a request's id that are logged."""

_JOB_ID = re.compile(r"[0-9a-f]{32}")


class Cancelled(Exception):
    """The job was cancelled, or the client no longer waits for its answer."""


@dataclass(frozen=True)
class Job:
    """One request while it runs.

    Attributes:
        id: see :data:`api.headers.JOB_HEADER`; None if the request cannot be cancelled.
        deadline: when an explanation ends with the best result so far; None for no limit.
        expiry: when the client stops waiting for the answer; None if it never does.
        request_id: identifies the request in logs; empty unless the gateway sent one.
        on_progress: called with the completed fraction of the work, 0 to 1; None if the client wants no reports.
    """

    id: str | None = None
    deadline: Deadline | None = None
    expiry: Deadline | None = None
    on_progress: Callable[[float], None] | None = None
    request_id: str = ""

    @classmethod
    def from_headers(cls, headers: Mapping[str, str], on_progress: Callable[[float], None]) -> Job:
        """Parse headers with lower-case names; invalid values are ignored."""
        job_id = headers.get(JOB_HEADER, "")
        return cls(
            id=job_id if _JOB_ID.fullmatch(job_id) else None,
            deadline=Deadline.from_header(headers.get(DEADLINE_HEADER, "")),
            expiry=Deadline.from_header(headers.get(EXPIRY_HEADER, "")),
            on_progress=on_progress if STREAM_TYPE in headers.get("accept", "") else None,
            request_id=headers.get(REQUEST_ID_HEADER, "")[:MAX_ID_LENGTH],
        )

    def raise_if_cancelled(self) -> None:
        """Raise :class:`Cancelled` if the job has been cancelled or has expired."""
        if self.expiry is not None and not self.expiry.left():
            raise Cancelled(self.id)
        if self.id is not None:
            try:
                _marker(self.id).unlink()
            except FileNotFoundError:
                pass
            else:
                raise Cancelled(self.id)

    def progress(self, share: float) -> None:
        """Report the completed fraction of the work, 0 to 1.

        Raises:
            Cancelled: as :meth:`raise_if_cancelled`.
        """
        self.raise_if_cancelled()
        if self.on_progress is not None:
            self.on_progress(share)

    def seconds_left(self) -> float | None:
        """Seconds until the deadline, at least 0; None without a deadline."""
        return None if self.deadline is None else self.deadline.left()


def cancel(job_id: str) -> None:
    """Mark a job as cancelled, and delete old markers. Invalid ids are ignored.

    If the marker cannot be written, for example on a full disk, the job runs to completion.
    """
    if not _JOB_ID.fullmatch(job_id):
        return
    for marker in _marker("*").parent.glob(_marker("*").name):
        with contextlib.suppress(OSError):  # just deleted, or another user's
            if time.time() - marker.stat().st_mtime > MAX_MARKER_AGE:
                marker.unlink()
    with contextlib.suppress(OSError):
        _marker(job_id).touch()


def _marker(job_id: str) -> Path:
    return Path(tempfile.gettempdir()) / f"mlbio_cancelled_{job_id}"
