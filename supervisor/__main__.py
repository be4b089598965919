"""Start TorchServe with both pools and the gateway, report when a prediction works, and stop both together.

python -m supervisor                     until Ctrl-C or SIGTERM
python -m supervisor --page              … with the web page, which opens in the browser
python -m supervisor --run COMMAND …     until COMMAND ends, with its exit code

Processes that end are restarted. ``--page`` and ``--run`` use a service that runs already at the same address. On
SIGTERM, SIGINT or SIGHUP the gateway accepts no new requests and finishes those that are running
(:attr:`gateway.settings.Settings.stop_seconds`); then TorchServe stops. Further signals change nothing. If this process
itself is killed, the system ends the others (:mod:`supervisor.exit_with_parent`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path

from api.archive import ARCHIVE
from gateway.settings import Settings
from supervisor.processes import ROOT, print_message, wait_for_exit
from supervisor.service import running_page, running_service
from supervisor.shutdown import Stopped, StopSignal
from supervisor.startup import ServeError, is_ready, require_free_port

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
        print_message("stopped")
        # Signals are how a service is stopped; a COMMAND that is interrupted has failed, as in a shell.
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
    shared = arguments.run or arguments.page
    async with contextlib.AsyncExitStack() as stack:
        if arguments.page:
            require_free_port(f"http://127.0.0.1:{settings.page_port}", "MLBIO_PAGE_PORT")
        if not (shared and await stop.unless_stopped(is_ready(settings))):
            await stack.enter_async_context(running_service(settings, arguments.model_store, arguments.logs, stop))
        if arguments.page:
            await stack.enter_async_context(running_page(settings, arguments.logs.resolve(), stop))
        if not arguments.run:
            await stop.unless_stopped(asyncio.Event().wait())
        return await stop.unless_stopped(run(arguments.run, settings))


def parser() -> argparse.ArgumentParser:
    """The documented options."""
    p = argparse.ArgumentParser(prog="python -m supervisor", description="TorchServe and the gateway, together.")
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
        return await wait_for_exit(process)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                await asyncio.wait_for(wait_for_exit(process), COMMAND_SECONDS)
            except TimeoutError:
                process.kill()
                process.wait()


if __name__ == "__main__":
    sys.exit(main())
