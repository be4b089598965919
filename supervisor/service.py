"""The service and the page: each started, kept alive, and stopped at the end."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from api.archive import ARCHIVE, checksum_file, verify
from gateway.keys import Keys, KeysError
from gateway.settings import Settings
from gateway.torchserve import torchserve_addresses
from supervisor.keeper import Keeper, say
from supervisor.page import open_browser, page_is_ready, page_url, start_page
from supervisor.processes import start_gateway, start_torchserve
from supervisor.promotion import RunningTorchServe, hold_socket, record
from supervisor.scratch import scratch_folder
from supervisor.shutdown import StopSignal
from supervisor.startup import ServeError, refuse_dead, refuse_dying_workers, refuse_taken_port, wait_until_ready

PAGE_SECONDS = 120.0

EXIT_SECONDS = 10.0
"""Seconds that the gateway gets to exit after those of its requests."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@contextlib.asynccontextmanager
async def running(settings: Settings, model_store: Path, logs: Path, stop: StopSignal) -> AsyncIterator[None]:
    """TorchServe and the gateway, ready to predict and kept alive; both are stopped at the end.

    Raises:
        ServeError: the archive is missing or was changed, a setting is invalid, a port is in use, or it takes too long.
        Stopped: a signal arrived before a prediction worked.
    """
    if not (model_store / ARCHIVE).is_file():
        raise ServeError(f"{model_store / ARCHIVE} is missing: make it with `make archive`")
    refuse_open_torchserve(settings)
    refuse_taken_port(settings.url, "MLBIO_PORT")
    for url in torchserve_addresses(settings).values():
        refuse_taken_port(url, "MLBIO_TORCHSERVE_URL")
    refuse_bad_keys(settings)
    logs = logs.resolve()
    with scratch_folder() as scratch:
        settings = replace(settings, hold_socket=str(hold_socket(scratch, settings)))
        keepers: list[Keeper] = []

        def start() -> subprocess.Popen[bytes]:
            verify(model_store / ARCHIVE)
            process = start_torchserve(settings, model_store, logs, scratch)
            running = RunningTorchServe(process.pid, settings.torchserve_url, str(model_store.resolve()), str(logs))
            try:
                record(scratch, settings, running)
            except OSError as error:
                say(f"warning: the model cannot be replaced while this runs: {error}")
            return process

        def check() -> None:
            for keeper in keepers:
                refuse_dead(keeper, logs)
            refuse_dying_workers(logs)

        try:
            started = time.monotonic()
            say("starting TorchServe and the gateway …")
            warn(settings, model_store)
            try:
                prepare(logs)
                keepers.append(Keeper("torchserve", start))
                seconds = settings.stop_seconds + EXIT_SECONDS
                keepers.append(Keeper("gateway", lambda: start_gateway(settings, logs), seconds))
            except OSError as error:
                raise ServeError(f"the service cannot be started: {error}") from None
            await stop.unless_stopped(wait_until_ready(settings, logs, check))
            where = f"POST {settings.url}/predict, docs at {settings.url}/docs"
            say(f"a prediction works after {time.monotonic() - started:.0f} s: {where}")
            for keeper in keepers:
                keeper.watch()
            yield
        finally:
            await end(keepers)


@contextlib.asynccontextmanager
async def showing(settings: Settings, logs: Path, stop: StopSignal) -> AsyncIterator[None]:
    """The page of a running service, kept alive and shown in the browser; it is stopped at the end.

    Raises:
        ServeError: the page does not start.
        Stopped: a signal arrived before it had.
    """
    page: Keeper | None = None
    try:
        try:
            logs.mkdir(parents=True, exist_ok=True)
            page = Keeper("page", lambda: start_page(settings, logs))
        except OSError as error:
            raise ServeError(f"the page cannot be started: {error}") from None
        await stop.unless_stopped(wait_for_page(settings, page, logs))
        say(f"the page: {page_url(settings)} (Ctrl-C stops everything)")
        open_browser(page_url(settings))
        page.watch()
        yield
    finally:
        await end([page] if page else [])


async def end(keepers: list[Keeper]) -> None:
    """Stop the processes in reverse order, as later ones need earlier ones."""
    for keeper in keepers:
        await keeper.unwatch()
    if keepers:
        say(f"\nstopping {' and '.join(keeper.name for keeper in reversed(keepers))} …")
    for keeper in reversed(keepers):
        await keeper.stop()


def refuse_open_torchserve(settings: Settings) -> None:
    """Raise :class:`ServeError` if other machines could reach TorchServe, which has no access control."""
    host = urlsplit(settings.torchserve_url).hostname or ""
    try:
        local = ipaddress.ip_address(socket.gethostbyname(host)).is_loopback
    except (OSError, ValueError):
        local = False
    if not local:
        raise ServeError(
            "MLBIO_TORCHSERVE_URL has to be an address of this machine's loopback, such as http://127.0.0.1:8080: only "
            "the gateway may be reached from elsewhere (MLBIO_HOST)"
        )


def refuse_bad_keys(settings: Settings) -> None:
    """Raise :class:`ServeError` if the gateway could not load its API keys."""
    try:
        Keys.load(settings)
    except KeysError as error:
        raise ServeError(str(error)) from None


def warn(settings: Settings, model_store: Path) -> None:
    """Warn about what is allowed but rarely intended."""
    if not checksum_file(model_store / ARCHIVE).exists():
        say(f"warning: {model_store / ARCHIVE} has no checksum next to it (`make archive` writes one): not verified")
    if settings.host not in LOOPBACK and not settings.api_keys_file:
        say(f"warning: whoever reaches {settings.url} can use the service: set MLBIO_API_KEYS_FILE")


def prepare(logs: Path) -> None:
    """Create the folder, and move an earlier log away, as :func:`refuse_dying_workers` reads this start's."""
    logs.mkdir(parents=True, exist_ok=True)
    for printed in logs.glob("*.out"):
        printed.unlink()
    with contextlib.suppress(FileNotFoundError):
        (logs / "torchserve.log").replace(logs / "torchserve.previous.log")


async def wait_for_page(settings: Settings, page: Keeper, logs: Path) -> None:
    """Return when the page answers; errors as :func:`wait_until_ready`."""
    deadline = time.monotonic() + PAGE_SECONDS
    while not await page_is_ready(settings):
        refuse_dead(page, logs)
        if time.monotonic() > deadline:
            raise ServeError(f"no page after {PAGE_SECONDS:.0f} s: see {logs / 'page.out'}")
        await asyncio.sleep(0.3)
