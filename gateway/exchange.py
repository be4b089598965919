"""Serve another archive without a stop: a second TorchServe starts with it, the gateway changes to it, the first ends.

Until the second one has made real predictions in both pools, nothing changes for anyone; if it cannot, it is stopped
and the first goes on. Both need memory for a while.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gateway.archive import SUFFIX, verify
from gateway.backend import GRACE_SECONDS
from gateway.handover import hand_over
from gateway.keeper import Keeper
from gateway.processes import ARCHIVE, free_ports_in_a_row, start_torchserve
from gateway.readiness import PROBE, PROBE_SECONDS
from gateway.settings import Settings
from gateway.starting import ServeError, wait_until_ready
from gateway.torchserve import TorchServe

PROMOTED = "promoted"
"""File beside the archive that says that it was promoted: `make` does not make it anew when some code is newer."""

PREVIOUS = "previous"
"""Folder in the model store of the archive that was served before, for going back."""


class ExchangeError(RuntimeError):
    """Another archive is not served; what was served before still is. The message says why."""


class Exchange:
    """TorchServe under a keeper, which can be exchanged for another one.

    Args:
        settings: of the service; ``torchserve_file`` is where the gateway looks for TorchServe.
        model_store: folder of the archive.
        logs: folder for the logs; a later TorchServe has one of its own in it.
        scratch: folder for temporary files.
    """

    def __init__(self, settings: Settings, model_store: Path, logs: Path, scratch: Path) -> None:
        self._settings, self._store, self._logs, self._scratch = settings, model_store, logs, scratch
        self._changing = asyncio.Lock()
        self._next: Keeper | None = None
        self.torchserve = Keeper("torchserve", lambda: self._start(settings, model_store, logs))

    @property
    def keepers(self) -> list[Keeper]:
        """All that run: one, and during a change two."""
        return [self.torchserve, *([self._next] if self._next else [])]

    async def change(self, archive: Path, version: str, tell: Callable[[str], None]) -> None:
        """Serve ``archive`` from now on, also after the next start; the archive before is kept for going back.

        Args:
            archive: a file ``mlbio.mar`` in a folder of the model store, with its checksum; it is moved.
            version: that its answers have to name.
            tell: gets lines about what happens.

        Raises:
            ExchangeError: nothing has changed.
        """
        if self._changing.locked():
            raise ExchangeError("another change is under way: wait until it has ended")
        async with self._changing:
            try:
                if not verify(archive):
                    raise ExchangeError(f"{archive} has no checksum beside it: make it again")
                await self._change(archive, version, tell)
            except (ServeError, OSError) as error:
                raise ExchangeError(str(error)) from None
            finally:
                if self._next:
                    await self._next.stop()
                    self._next = None

    async def _change(self, archive: Path, version: str, tell: Callable[[str], None]) -> None:
        started = time.monotonic()
        settings = replace(self._settings, torchserve_url=f"http://127.0.0.1:{free_ports_in_a_row(3)}")
        logs = self._logs / f"{version}-{time.strftime('%Y%m%dT%H%M%S')}"
        logs.mkdir(parents=True)
        folder = archive.parent

        def start() -> subprocess.Popen[bytes]:
            return self._start(settings, folder, logs)

        tell(f"starting a second TorchServe with {version}, which logs in {logs}")
        self._next = Keeper("torchserve", start)
        await wait_until_ready(settings, [self._next], logs, through_gateway=False)
        if (found := await version_of(settings)) != version:
            raise ServeError(f"the new TorchServe answers with version {found or 'none'} instead of {version}")
        tell(f"it predicts after {time.monotonic() - started:.0f} s: the gateway changes to it")
        install(archive, self._store)
        folder = self._store
        limit = self._settings.explain_seconds + 2 * GRACE_SECONDS
        if not await hand_over(Path(self._settings.torchserve_file), settings.torchserve_url, limit):
            tell(f"warning: the gateway has not confirmed the change within {limit:.0f} s")
        old, self.torchserve, self._next = self.torchserve, self._next, None
        self.torchserve.watch()
        await old.stop()

    def _start(self, settings: Settings, model_store: Path, logs: Path) -> subprocess.Popen[bytes]:
        verify(model_store / ARCHIVE)
        return start_torchserve(settings, model_store, logs, self._scratch)


async def version_of(settings: Settings) -> str | None:
    """The model version that TorchServe at the settings' address names; None if it does not answer."""
    torchserve = TorchServe(settings)
    try:
        answer = await torchserve.predict(replace(PROBE, details=True), PROBE_SECONDS)
    finally:
        await torchserve.close()
    return str(json.loads(answer.body)["details"]["model"]["version"]) if answer.status == 200 else None


def install(archive: Path, model_store: Path) -> None:
    """Move ``archive`` to where the next start looks for it, and what was there to :data:`PREVIOUS`.

    There is an archive at every moment. Its checksum is away for moments in between, and then it is not verified.
    """
    served, previous = model_store / ARCHIVE, model_store / PREVIOUS / ARCHIVE
    previous.parent.mkdir(exist_ok=True)
    fresh = served.with_name(f"{ARCHIVE}.partial")
    archive.replace(fresh)
    checksums = {served: _take_checksum(archive), previous: _take_checksum(served)}
    _checksum(previous).unlink(missing_ok=True)
    if served.exists():
        kept = previous.with_name(f"{ARCHIVE}.partial")
        kept.unlink(missing_ok=True)
        os.link(served, kept)
        kept.replace(previous)
    fresh.replace(served)
    (model_store / PROMOTED).touch()
    for path, text in checksums.items():
        if text:
            _checksum(path).write_text(text)


def _checksum(archive: Path) -> Path:
    return archive.with_name(archive.name + SUFFIX)


def _take_checksum(archive: Path) -> str:
    """The text of the checksum's file, which is deleted."""
    try:
        text = _checksum(archive).read_text()
    except FileNotFoundError:
        return ""
    _checksum(archive).unlink()
    return text
