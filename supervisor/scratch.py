"""Temporary folders, which are deleted even if the service was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "mlbio-serve-"


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder, deleted at the end. Folders of services that were killed are deleted first.

    A service holds a lock on its folder, which the system releases however the service ends.
    """
    delete_abandoned()
    made = Path(tempfile.mkdtemp(prefix=f"new-{PREFIX}"))
    lock = os.open(made, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    folder = made.rename(made.with_name(made.name.removeprefix("new-")))  # locked before others look at it
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def delete_abandoned() -> None:
    """Delete this user's folders whose service no longer runs."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # another user's, or just deleted
            continue
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_uid == os.getuid():
                shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
