"""Start TorchServe with both pools and the gateway, report when a prediction works, and stop both together.

python -m gateway.serve                     until Ctrl-C or SIGTERM
python -m gateway.serve --page              … with the web page, which opens in the browser
python -m gateway.serve --run COMMAND …     until COMMAND ends, with its exit code

What ends by itself is started again. ``--page`` and ``--run`` use a service that runs already at the same address. On
SIGTERM, SIGINT or SIGHUP the gateway takes no new requests, finishes those that it has
(:attr:`gateway.settings.Settings.stop_seconds`), and then TorchServe stops; further signals change nothing. If this
process itself is killed, the system ends all of them (:mod:`gateway.tether`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from gateway.archive import SUFFIX
from gateway.control import listening
from gateway.exchange import Exchange
from gateway.keeper import Keeper, say
from gateway.keys import Keys, KeysError
from gateway.page import open_browser, page_is_ready, page_url, start_page
from gateway.processes import ARCHIVE, ROOT, ended, start_gateway, torchserve_addresses
from gateway.scratch import scratch_folder
from gateway.settings import Settings
from gateway.starting import ServeError, is_ready, refuse_dead, refuse_taken_port, wait_until_ready
from gateway.stopping import Stopped, StopSignal

PAGE_SECONDS = 120.0

GRACE_SECONDS = 10.0
"""Seconds that the gateway gets to end beyond those of its requests."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")

COMMAND_SECONDS = 5.0
"""Seconds that an interrupted COMMAND gets to end."""


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    settings = Settings.from_environment()
    stop = StopSignal()
    stop.listen()
    try:
        return asyncio.run(serve(arguments, settings, stop))
    except Stopped as stopped:
        say("stopped")
        # Ending the service is what a signal is for; a COMMAND that was interrupted has failed, as in a shell.
        return 128 + stopped.signal if arguments.run else 0
    except ServeError as error:
        with contextlib.suppress(OSError):
            print(f"serve: error: {error}", file=sys.stderr)
        return 1


async def serve(arguments: argparse.Namespace, settings: Settings, stop: StopSignal) -> int:
    """Run the service; returns the exit code of COMMAND.

    Raises:
        Stopped: a signal arrived; everything has been stopped.
        ServeError: the service cannot run.
    """
    shares = arguments.run or arguments.page
    async with contextlib.AsyncExitStack() as stack:
        if arguments.page:
            refuse_taken_port(f"http://127.0.0.1:{settings.page_port}", "MLBIO_PAGE_PORT")
        if not (shares and await stop.unless_stopped(is_ready(settings))):
            await stack.enter_async_context(running(settings, arguments.model_store, arguments.logs, stop))
        if arguments.page:
            await stack.enter_async_context(showing(settings, arguments.logs.resolve(), stop))
        if not arguments.run:
            await stop.unless_stopped(asyncio.Event().wait())
        return await stop.unless_stopped(run(arguments.run, settings))


def parser() -> argparse.ArgumentParser:
    """The documented options."""
    p = argparse.ArgumentParser(prog="python -m gateway.serve", description="TorchServe and the gateway, together.")
    p.add_argument("--model-store", type=Path, default=ROOT / "model_store", help=f"folder that holds {ARCHIVE}")
    p.add_argument("--logs", type=Path, default=ROOT / "logs", help="folder for the logs")
    instead = p.add_mutually_exclusive_group()
    instead.add_argument("--page", action="store_true", help="also start the web page, and open it in the browser")
    instead.add_argument("--run", nargs=argparse.REMAINDER, metavar="COMMAND", help="run this when ready, then stop")
    return p


async def run(command: list[str], settings: Settings) -> int:
    """Run ``command`` with the service's address in ``MLBIO_URL``; returns its exit code."""
    process = subprocess.Popen(command, env=os.environ | {"MLBIO_URL": settings.url})
    try:
        return await ended(process)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                await asyncio.wait_for(ended(process), COMMAND_SECONDS)
            except TimeoutError:
                process.kill()
                process.wait()


@contextlib.asynccontextmanager
async def running(settings: Settings, model_store: Path, logs: Path, stop: StopSignal) -> AsyncIterator[None]:
    """TorchServe and the gateway, ready to predict and kept alive; both are stopped at the end.

    Raises:
        ServeError: the archive is missing or not ours, a setting is wrong, a port is taken, or no prediction works in
            time.
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
        settings = replace(settings, torchserve_file=str(scratch / "torchserve"))
        exchange: Exchange | None = None
        gateway: Keeper | None = None
        try:
            started = time.monotonic()
            say("starting TorchServe and the gateway …")
            warn(settings, model_store)
            try:
                prepare(logs)
                exchange = Exchange(settings, model_store, logs, scratch)
                seconds = settings.stop_seconds + GRACE_SECONDS
                gateway = Keeper("gateway", lambda: start_gateway(settings, logs), seconds)
            except OSError as error:
                raise ServeError(f"the service cannot be started: {error}") from None
            await stop.unless_stopped(wait_until_ready(settings, [exchange.torchserve, gateway], logs))
            where = f"POST {settings.url}/predict, docs at {settings.url}/docs"
            say(f"a prediction works after {time.monotonic() - started:.0f} s: {where}")
            exchange.torchserve.watch()
            gateway.watch()
            async with listening(exchange, scratch, settings):
                yield
        finally:
            await end([*(exchange.keepers if exchange else []), *([gateway] if gateway else [])])


@contextlib.asynccontextmanager
async def showing(settings: Settings, logs: Path, stop: StopSignal) -> AsyncIterator[None]:
    """The page, kept alive and shown in the browser, in front of a running service; it is stopped at the end.

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
    """Keep nothing alive any more, and stop what runs: the last that was started first, as it needs the others."""
    for keeper in keepers:
        await keeper.rest()
    if keepers:
        say(f"\nstopping {' and '.join(keeper.name for keeper in reversed(keepers))} …")
    for keeper in reversed(keepers):
        await keeper.stop()


def refuse_open_torchserve(settings: Settings) -> None:
    """Raise :class:`ServeError` if others than this machine could reach TorchServe, which checks nobody."""
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
    """Raise :class:`ServeError` if the gateway could not read its API keys."""
    try:
        Keys.load(settings)
    except KeysError as error:
        raise ServeError(str(error)) from None


def warn(settings: Settings, model_store: Path) -> None:
    """Say what is allowed and yet seldom meant."""
    if not (model_store / f"{ARCHIVE}{SUFFIX}").exists():
        say(f"warning: {model_store / ARCHIVE} has no checksum beside it (`make archive` writes one): not verified")
    if settings.host not in LOOPBACK and not settings.api_keys_file:
        say(f"warning: whoever reaches {settings.url} can use the service: set MLBIO_API_KEYS_FILE")


def prepare(logs: Path) -> None:
    """Make the folder, and put an earlier log aside: :func:`refuse_dying_workers` reads this start's."""
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


if __name__ == "__main__":
    sys.exit(main())
