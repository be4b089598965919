"""Serving another archive: TorchServe restarts with it while the gateway holds requests.

If the new model does not predict, the archive before is restored, and TorchServe restarts with that.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec

from api.archive import ARCHIVE, PROMOTED, checksum_file, verify
from api.files import write_atomically
from gateway.backend import GRACE_SECONDS
from gateway.hold import IDLE
from gateway.settings import Settings
from supervisor.processes import stop_group
from supervisor.scratch import PREFIX, delete_abandoned
from supervisor.startup import ServeError, refuse_dying_workers, wait_until_ready

PREVIOUS = "previous"
"""Folder in the model store of the archive that was served before, for going back."""

REPLACED = "replaced"
"""Folder in the model store of the archive that is served, until the next one has made a prediction."""

HOLD_SOCKET, RECORD = "hold-{port}", "torchserve-{port}.json"
"""Files of a service's temporary folder."""


class PromotionError(RuntimeError):
    """The archive is not served; the one before is, unless the message says otherwise."""


class RunningTorchServe(msgspec.Struct, frozen=True):
    """What the supervisor records of the TorchServe that it has started."""

    pid: int
    url: str
    model_store: str
    logs: str


def hold_socket(scratch: Path, settings: Settings) -> Path:
    """The socket at which the service's gateway holds requests."""
    return scratch / HOLD_SOCKET.format(port=settings.port)


def record(scratch: Path, settings: Settings, running: RunningTorchServe) -> None:
    """Record what runs, for :func:`find_service`."""
    file = scratch / RECORD.format(port=settings.port)
    with write_atomically(file) as partial:
        partial.write_bytes(msgspec.json.encode(running))


def find_service(settings: Settings) -> Path | None:
    """The temporary folder of the service that this user runs at the settings' port; None if there is none."""
    delete_abandoned()
    for file in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{RECORD.format(port=settings.port)}"):
        if file.parent.lstat().st_uid == os.getuid():  # another user could write what they like
            return file.parent
    return None


@contextlib.contextmanager
def locked(model_store: Path) -> Iterator[None]:
    """Keep other promotions away from ``model_store``.

    Raises:
        PromotionError: another one is under way.
    """
    folder = os.open(model_store, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PromotionError("another promotion is under way: wait until it has ended") from None
        yield
    finally:
        os.close(folder)


class Replacement:
    """An archive in the place of the one that is served, until :meth:`commit` or :meth:`undo`.

    These two only rename, which works on a full disk.

    Args:
        archive: the new one, in the same file system; it also stays where it is.
        model_store: folder of the archive that is served.

    Raises:
        OSError: nothing has changed.
    """

    def __init__(self, archive: Path, model_store: Path) -> None:
        self._served = model_store / ARCHIVE
        self._replaced = model_store / REPLACED / ARCHIVE
        self._previous = model_store / PREVIOUS / ARCHIVE
        self._marker = model_store / PROMOTED
        self._was_promoted = self._marker.exists()
        self._kept = False
        shutil.rmtree(self._replaced.parent, ignore_errors=True)  # of a promotion that was killed
        try:
            for folder in (self._replaced.parent, self._previous.parent):
                folder.mkdir(exist_ok=True)
            self._marker.touch()
            if self._served.exists():
                link(self._served, self._replaced)
                self._kept = True
            link(archive, self._served)
        except OSError:
            self.undo()
            raise

    def commit(self) -> None:
        """Keep the replaced archive as the previous one."""
        if self._kept:
            move(self._replaced, self._previous)
        shutil.rmtree(self._replaced.parent, ignore_errors=True)

    def undo(self) -> None:
        """Put the replaced archive back."""
        if self._kept:
            move(self._replaced, self._served)
        if not self._was_promoted:
            self._marker.unlink(missing_ok=True)
        shutil.rmtree(self._replaced.parent, ignore_errors=True)


def link(archive: Path, target: Path) -> None:
    """Make ``target`` the same file as ``archive``, and its checksum as well."""
    partial = target.with_name(f"{target.name}.partial")
    copies = {archive: partial, checksum_file(archive): checksum_file(partial)}
    try:
        for source, copy in copies.items():
            copy.unlink(missing_ok=True)
            if source.exists():
                os.link(source, copy)
        move(partial, target)
    finally:
        for copy in copies.values():
            copy.unlink(missing_ok=True)


def move(archive: Path, target: Path) -> None:
    """Rename ``archive`` and its checksum. In between, ``target`` has no checksum and is not verified."""
    checksum_file(target).unlink(missing_ok=True)
    archive.replace(target)
    if checksum_file(archive).exists():
        checksum_file(archive).replace(checksum_file(target))


def promote(archive: Path, service: Path, settings: Settings, tell: Callable[[str], None]) -> None:
    """Serve ``archive`` from now on, also after the next start. The archive before is kept for going back.

    Args:
        archive: in a folder of the model store, with its checksum.
        service: temporary folder of the running service.
        settings: the service's.
        tell: gets lines about what happens.

    Raises:
        PromotionError: it is not served.
        OSError: a file cannot be read or written, and it is not served.
    """
    if not verify(archive):
        raise PromotionError(f"{archive} has no checksum next to it: make it again")
    running = read(service, settings)
    store = Path(running.model_store)
    if store not in archive.parents:
        raise PromotionError(f"the service at {settings.url} serves {store / ARCHIVE}: choose that --model-store")
    tell("waiting for running requests to finish; new ones are held")
    with held(hold_socket(service, settings), settings.explain_seconds + 2 * GRACE_SECONDS):
        replacement = Replacement(archive, store)
        try:
            tell("restarting TorchServe with the new archive")
            restart(service, settings)
        except BaseException as error:  # including an interruption
            replacement.undo()
            if not service.exists():
                raise PromotionError("the service was stopped: the archive before will be served again") from None
            tell("restarting TorchServe with the archive before")
            try:
                restart(service, settings)
            except ServeError as other:
                raise PromotionError(f"{error}\nthe archive before is back, but does not predict: {other}") from None
            if isinstance(error, ServeError):
                raise PromotionError(f"{error}\nthe archive before is back, and predicts") from None
            raise
        try:
            replacement.commit()
        except OSError as error:
            raise PromotionError(f"the archive is served, but the one before could not be kept: {error}") from None


@contextlib.contextmanager
def held(path: Path, seconds: float) -> Iterator[None]:
    """Have the gateway hold new requests; begins when it has answered the others.

    Raises:
        PromotionError: the gateway does not answer, or the others have not finished after ``seconds``.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
        try:
            connection.connect(str(path))
            idle = connection.makefile("rb").readline() == IDLE
        except TimeoutError:
            raise PromotionError(f"requests are still running after {seconds:.0f} s: try again later") from None
        except OSError as error:
            raise PromotionError(f"the gateway cannot hold requests: {error}") from None
        if not idle:
            raise PromotionError("the gateway has ended: try again")
        yield


def restart(service: Path, settings: Settings) -> None:
    """Stop TorchServe, which the supervisor then starts again; returns when both pools predict.

    Raises:
        ServeError: they do not.
    """
    running = read(service, settings)
    logs = Path(running.logs)
    log = logs / "torchserve.log"
    logged = log.stat().st_size if log.exists() else 0
    settings = replace(settings, torchserve_url=running.url)

    def check() -> None:
        if not service.exists():
            raise ServeError("the service was stopped")
        refuse_dying_workers(logs, logged)

    async def stop_and_wait() -> None:
        await stop_group(running.pid)
        await wait_until_ready(settings, logs, check, through_gateway=False)

    asyncio.run(stop_and_wait())


def read(service: Path, settings: Settings) -> RunningTorchServe:
    """What the supervisor has recorded."""
    return msgspec.json.decode((service / RECORD.format(port=settings.port)).read_bytes(), type=RunningTorchServe)
