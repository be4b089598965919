"""Lifetimes of the service and the page: start, supervision, stop."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from api.archive import ARCHIVE, verify
from gateway.settings import Settings
from supervisor.components import open_browser, start_gateway, start_page, start_torchserve
from supervisor.processes import Watchdog, print_message
from supervisor.runtime import HOLD_SOCKET, RunningTorchServe, runtime_folder, write_record
from supervisor.shutdown import StopSignal
from supervisor.startup import (
    ServeError,
    check_configuration,
    is_ready,
    page_is_ready,
    pools_predict,
    raise_if_ended,
    raise_if_workers_die,
    wait_until,
)

PAGE_SECONDS = 120.0

EXIT_SECONDS = 10.0
"""Seconds that the gateway gets to exit after its requests have finished."""


@contextlib.asynccontextmanager
async def running_service(settings: Settings, model_store: Path, logs: Path, stop: StopSignal) -> AsyncIterator[None]:
    """TorchServe and the gateway, ready to predict and kept alive; both are stopped at the end.

    Raises:
        ServeError: the archive is missing or was changed, a setting is invalid, a port is in use, or it takes too long.
        Stopped: a signal arrived before a prediction worked.
    """
    check_configuration(settings, model_store)
    logs = logs.resolve()
    with runtime_folder() as runtime:
        settings = replace(settings, hold_socket=str(runtime / HOLD_SOCKET))
        watchdogs: list[Watchdog] = []

        def start() -> subprocess.Popen[bytes]:
            verify(model_store / ARCHIVE)
            process = start_torchserve(settings, model_store, logs, runtime)
            store = str(model_store.resolve())
            try:
                write_record(
                    runtime,
                    RunningTorchServe(settings.port, process.pid, settings.torchserve_url, store, str(logs)),
                )
            except OSError as error:
                print_message(f"warning: the model cannot be replaced while this runs: {error}")
            return process

        async def ready() -> bool:
            return await is_ready(settings) and await pools_predict(settings.torchserve_url)

        def check() -> None:
            for watchdog in watchdogs:
                raise_if_ended(watchdog, logs)
            raise_if_workers_die(logs)

        try:
            started = time.monotonic()
            print_message("starting TorchServe and the gateway …")
            try:
                prepare(logs)
                watchdogs.append(Watchdog("torchserve", start))
                stop_seconds = settings.stop_seconds + EXIT_SECONDS
                watchdogs.append(Watchdog("gateway", lambda: start_gateway(settings, logs), stop_seconds))
            except OSError as error:
                raise ServeError(f"the service cannot be started: {error}") from None
            await stop.unless_stopped(wait_until(ready, check, logs / "torchserve.log"))
            urls = f"POST {settings.url}/predict, docs at {settings.url}/docs"
            print_message(f"a prediction works after {time.monotonic() - started:.0f} s: {urls}")
            for watchdog in watchdogs:
                watchdog.watch()
            yield
        finally:
            await stop_all(watchdogs)


@contextlib.asynccontextmanager
async def running_page(settings: Settings, logs: Path, stop: StopSignal) -> AsyncIterator[None]:
    """The page of a running service, kept alive and shown in the browser; it is stopped at the end.

    Raises:
        ServeError: the page does not start.
        Stopped: a signal arrived before it had.
    """
    watchdogs: list[Watchdog] = []
    try:
        try:
            logs.mkdir(parents=True, exist_ok=True)
            page = Watchdog("page", lambda: start_page(settings, logs))
        except OSError as error:
            raise ServeError(f"the page cannot be started: {error}") from None
        watchdogs.append(page)
        waiting = wait_until(
            lambda: page_is_ready(settings), lambda: raise_if_ended(page, logs), logs / "page.out", PAGE_SECONDS
        )
        await stop.unless_stopped(waiting)
        url = f"http://localhost:{settings.page_port}/"
        print_message(f"the page: {url} (Ctrl-C stops everything)")
        open_browser(url)
        page.watch()
        yield
    finally:
        await stop_all(watchdogs)


async def stop_all(watchdogs: list[Watchdog]) -> None:
    """Stop the processes in reverse order, as later ones need earlier ones."""
    for watchdog in watchdogs:
        await watchdog.unwatch()
    if watchdogs:
        print_message(f"\nstopping {' and '.join(watchdog.name for watchdog in reversed(watchdogs))} …")
    for watchdog in reversed(watchdogs):
        await watchdog.stop()


def prepare(logs: Path) -> None:
    """Create the folder, and move old logs away, because :func:`raise_if_workers_die` must not read them."""
    logs.mkdir(parents=True, exist_ok=True)
    for printed in logs.glob("*.out"):
        printed.unlink()
    with contextlib.suppress(FileNotFoundError):
        (logs / "torchserve.log").replace(logs / "torchserve.previous.log")
