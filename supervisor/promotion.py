"""Serving another archive: TorchServe restarts with it while the gateway holds requests.

If the new model does not predict, the previous archive is restored, and TorchServe restarts with that.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from api.archive import ARCHIVE, PROMOTED, checksum_file, verify
from gateway.backend import GRACE_SECONDS
from gateway.hold import IDLE
from gateway.settings import Settings
from supervisor.processes import stop_group
from supervisor.runtime import HOLD_SOCKET, read_record
from supervisor.startup import ServeError, pools_predict, raise_if_workers_die, wait_until

PREVIOUS = "previous"
"""Folder in the model store for the previously served archive, for rollback."""

REPLACED = "replaced"
"""Folder in the model store for a backup of the served archive, until the new one has made a prediction."""

IDLE_STOP_SECONDS = 5.0
"""Seconds before an idle TorchServe is killed; it does not stop by itself while its workers die."""


class PromotionError(RuntimeError):
    """The promotion failed; the previous archive is served, unless the message says otherwise."""


def promote(archive: Path, runtime: Path, settings: Settings, report: Callable[[str], None]) -> None:
    """Serve ``archive`` from now on, also after the next start. The previous archive is kept for rollback.

    Args:
        archive: in a folder of the model store, with its checksum.
        runtime: temporary folder of the running service.
        settings: the service's.
        report: called with lines about progress.

    Raises:
        PromotionError: the archive is not served.
        OSError: a file cannot be read or written, and the archive is not served.
    """
    if not verify(archive):
        raise PromotionError(f"{archive} has no checksum next to it: make it again")
    store = Path(read_record(runtime).model_store)
    if store not in archive.parents:
        raise PromotionError(f"the service at {settings.url} serves {store / ARCHIVE}: choose that --model-store")
    report("waiting for running requests to finish; new ones are held")
    with hold_requests(runtime / HOLD_SOCKET, settings.explain_seconds + 2 * GRACE_SECONDS):
        try:
            with replace_archive(archive, store):
                report("restarting TorchServe with the new archive")
                restart(runtime)
        except (ServeError, KeyboardInterrupt) as error:
            if not runtime.exists():
                raise PromotionError("the service was stopped: the previous archive will be served again") from None
            report("restarting TorchServe with the previous archive")
            try:
                restart(runtime)
            except ServeError as other:
                raise PromotionError(
                    f"{error}\nthe previous archive is restored, but does not predict: {other}"
                ) from None
            if isinstance(error, KeyboardInterrupt):
                raise
            raise PromotionError(f"{error}\nthe previous archive is restored, and predicts") from None


@contextlib.contextmanager
def promotion_lock(model_store: Path) -> Iterator[None]:
    """Allow one promotion at a time in ``model_store``.

    Raises:
        PromotionError: another one is running.
    """
    folder = os.open(model_store, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PromotionError("another promotion is running: wait until it has ended") from None
        yield
    finally:
        os.close(folder)


@contextlib.contextmanager
def hold_requests(path: Path, seconds: float) -> Iterator[None]:
    """Make the gateway hold new requests, and wait until it has answered the running ones.

    Raises:
        PromotionError: the gateway does not respond, or requests are still running after ``seconds``.
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


@contextlib.contextmanager
def replace_archive(archive: Path, model_store: Path) -> Iterator[None]:
    """Replace the served archive, which is restored on an error and otherwise kept as the previous one.

    Restoring and keeping only rename files, which works on a full disk.

    Args:
        archive: the new archive, on the same file system; it is linked, not moved.
        model_store: folder of the served archive.

    Raises:
        OSError: the archive cannot be replaced; nothing has changed.
        PromotionError: the archive was replaced, but the previous one could not be kept.
    """
    served, previous = model_store / ARCHIVE, model_store / PREVIOUS / ARCHIVE
    backup, marker = model_store / REPLACED / ARCHIVE, model_store / PROMOTED
    was_promoted, backed_up = marker.exists(), False
    shutil.rmtree(backup.parent, ignore_errors=True)  # of a promotion that was killed
    try:
        for folder in (backup.parent, previous.parent):
            folder.mkdir(exist_ok=True)
        marker.touch()
        if served.exists():
            link(served, backup)
            backed_up = True
        link(archive, served)
        yield
    except BaseException:
        if backed_up:
            move(backup, served)
        if not was_promoted:
            marker.unlink(missing_ok=True)
        shutil.rmtree(backup.parent, ignore_errors=True)
        raise
    try:
        if backed_up:
            move(backup, previous)
    except OSError as error:
        raise PromotionError(f"the archive is served, but the previous one could not be kept: {error}") from None
    shutil.rmtree(backup.parent, ignore_errors=True)


def link(archive: Path, target: Path) -> None:
    """Hard-link ``archive`` and its checksum to ``target``, atomically."""
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


def restart(runtime: Path) -> None:
    """Stop TorchServe, so that the supervisor restarts it, and wait until both pools predict.

    Raises:
        ServeError: they do not, or the service was stopped.
    """

    def check() -> None:
        if not runtime.exists():
            raise ServeError("the service was stopped")
        if log.exists() and log.stat().st_ino != old_log:  # TorchServe moves the old one away when it starts
            raise_if_workers_die(logs)

    async def stop_and_wait() -> None:
        await stop_group(running.pid, IDLE_STOP_SECONDS)
        await wait_until(lambda: pools_predict(running.url), check, log)

    try:
        running = read_record(runtime)
        logs = Path(running.logs)
        log = logs / "torchserve.log"
        old_log = log.stat().st_ino if log.exists() else None
        asyncio.run(stop_and_wait())
    except OSError as error:
        raise ServeError(f"TorchServe cannot be restarted: {error}") from None
