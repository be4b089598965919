"""The temporary folder of a running service, which is deleted even if the service was killed.

It holds the archives that TorchServe unpacks, the gateway's socket for holding requests, and a record of the running
TorchServe, with which ``make promote`` finds the service.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from api.files import write_atomically
from gateway.settings import Settings

PREFIX = "mlbio-serve-"
HOLD_SOCKET, RECORD = "hold", "torchserve.json"
"""Files in the folder."""


class RunningTorchServe(msgspec.Struct, frozen=True):
    """The record of a running TorchServe.

    Attributes:
        port: the gateway's.
        pid: TorchServe's, also the id of its process group.
    """

    port: int
    pid: int
    url: str
    model_store: str
    logs: str


@contextlib.contextmanager
def runtime_folder() -> Iterator[Path]:
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
    """Delete this user's folders of services that no longer run."""
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


def write_record(folder: Path, running: RunningTorchServe) -> None:
    """Write the record into the service's temporary folder."""
    with write_atomically(folder / RECORD) as partial:
        partial.write_bytes(msgspec.json.encode(running))


def read_record(folder: Path) -> RunningTorchServe:
    """Read the record in a service's temporary folder."""
    return msgspec.json.decode((folder / RECORD).read_bytes(), type=RunningTorchServe)


def find_service(settings: Settings) -> Path | None:
    """The temporary folder of this user's service at the settings' port; None if there is none."""
    delete_abandoned()
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, msgspec.MsgspecError):  # it is starting or stopping, or of another version
            # A record of another user is not to be trusted.
            if folder.lstat().st_uid == os.getuid() and read_record(folder).port == settings.port:
                return folder
    return None
