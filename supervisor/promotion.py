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
from supervisor.startup import ServeError, pools_predict, refuse_dying_workers, wait_until

PREVIOUS = "previous"
"""Folder in the model store of the archive that was served before, for going back."""

REPLACED = "replaced"
"""Folder in the model store of the archive that is served, until the next one has made a prediction."""


IDLE_STOP_SECONDS = 5.0
"""Seconds that TorchServe, which has no requests then, gets to end; one whose workers die would take for ever."""


class PromotionError(RuntimeError):
    """The archive is not served; the previous one is, unless the message says otherwise."""


def promote(archive: Path, runtime: Path, settings: Settings, report: Callable[[str], None]) -> None:
    """Serve ``archive`` from now on, also after the next start. The previous archive is kept for going back.

    Args:
        archive: in a folder of the model store, with its checksum.
        runtime: temporary folder of the running service.
        settings: the service's.
        report: gets lines about what happens.

    Raises:
        PromotionError: it is not served.
        OSError: a file cannot be read or written, and it is not served.
    """
    if not verify(archive):
        raise PromotionError(f"{archive} has no checksum next to it: make it again")
    store = Path(read_record(runtime).model_store)
    if store not in archive.parents:
        raise PromotionError(f"the service at {settings.url} serves {store / ARCHIVE}: choose that --model-store")
    report("waiting for running requests to finish; new ones are held")
    with held(runtime / HOLD_SOCKET, settings.explain_seconds + 2 * GRACE_SECONDS):
        try:
            with replaced(archive, store):
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
def locked(model_store: Path) -> Iterator[None]:
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


@contextlib.contextmanager
def replaced(archive: Path, model_store: Path) -> Iterator[None]:
    """Put ``archive`` in place of the one that is served, which is kept as the previous one, or restored on an error.

    Both ends only rename, which works on a full disk.

    Args:
        archive: in the same file system; it also stays where it is.
        model_store: folder of the archive that is served.

    Raises:
        OSError: it cannot be put in place, and nothing has changed.
        PromotionError: it is in place, but the previous one could not be kept.
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


def restart(runtime: Path) -> None:
    """Stop TorchServe, which the supervisor then starts again; returns when both pools predict.

    Raises:
        ServeError: they do not, or the service was stopped.
    """

    def refuse() -> None:
        if not runtime.exists():
            raise ServeError("the service was stopped")
        if log.exists() and log.stat().st_ino != old_log:  # TorchServe moves the old one away when it starts
            refuse_dying_workers(logs)

    async def stop_and_wait() -> None:
        await stop_group(running.pid, IDLE_STOP_SECONDS)
        await wait_until(lambda: pools_predict(running.url), refuse, log)

    try:
        running = read_record(runtime)
        logs = Path(running.logs)
        log = logs / "torchserve.log"
        old_log = log.stat().st_ino if log.exists() else None
        asyncio.run(stop_and_wait())
    except OSError as error:
        raise ServeError(f"TorchServe cannot be restarted: {error}") from None
