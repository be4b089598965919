"""Start TorchServe with both pools and the gateway, report when a prediction works, and stop both together.

python -m gateway.serve                     until Ctrl-C or SIGTERM
python -m gateway.serve --run COMMAND …     until COMMAND ends, with its exit code
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn
from urllib.parse import urlsplit

import httpx

from api.headers import EXPLAIN_POOL
from gateway.processes import ARCHIVE, ROOT, start_gateway, start_torchserve, stop, torchserve_addresses
from gateway.readiness import PROBE
from gateway.settings import Settings

START_SECONDS = 240.0
PROBE_SECONDS = 10.0

Processes = dict[str, subprocess.Popen[bytes]]
"""By name, which is also the name of the log file."""


class ServeError(RuntimeError):
    """The service cannot run. The message says what to do."""


class Stopped(Exception):
    """A signal asked for the end.

    Attributes:
        signal: its number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.signal = number


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    settings = Settings.from_environment()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _raise_stopped)
    try:
        if arguments.run and is_ready(settings):
            return run(arguments.run, settings)
        with running(settings, arguments.model_store, arguments.logs) as processes:
            if arguments.run:
                return run(arguments.run, settings)
            watch(processes, arguments.logs)
    except Stopped as stopped:
        print("\nstopped", flush=True)
        # Ending the service is what a signal is for; a COMMAND that was interrupted has failed, as in a shell.
        return 128 + stopped.signal if arguments.run else 0
    except ServeError as error:
        print(f"serve: error: {error}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """The documented options."""
    p = argparse.ArgumentParser(prog="python -m gateway.serve", description="TorchServe and the gateway, together.")
    p.add_argument("--model-store", type=Path, default=ROOT / "model_store", help=f"folder that holds {ARCHIVE}")
    p.add_argument("--logs", type=Path, default=ROOT / "logs", help="folder for the logs")
    p.add_argument("--run", nargs=argparse.REMAINDER, metavar="COMMAND", help="run this when ready, then stop")
    return p


def run(command: list[str], settings: Settings) -> int:
    """Run ``command`` with the service's address in ``MLBIO_URL``; returns its exit code."""
    return subprocess.call(command, env=os.environ | {"MLBIO_URL": settings.url})


@contextlib.contextmanager
def running(settings: Settings, model_store: Path, logs: Path) -> Iterator[Processes]:
    """TorchServe and the gateway, ready to predict; both are stopped at the end.

    Raises:
        ServeError: the archive is missing, a port is taken, or no prediction works in time.
    """
    if not (model_store / ARCHIVE).is_file():
        raise ServeError(f"{model_store / ARCHIVE} is missing: make it with `make archive`")
    for url in (settings.url, *torchserve_addresses(settings).values()):
        refuse_taken_port(url)
    logs.mkdir(parents=True, exist_ok=True)
    processes: Processes = {}
    # TorchServe unpacks archives in its temporary folder and keeps its pid file there, so each server needs its own.
    folder = tempfile.mkdtemp(prefix="mlbio-")
    try:
        started = time.monotonic()
        print("starting TorchServe and the gateway …", flush=True)
        processes["torchserve"] = start_torchserve(settings, model_store, logs, folder)
        processes["gateway"] = start_gateway(settings, logs)
        wait_until_ready(settings, processes, logs)
        seconds = time.monotonic() - started
        where = f"POST {settings.url}/predict, docs at {settings.url}/docs"
        print(f"a prediction works after {seconds:.0f} s: {where}", flush=True)
        yield processes
    finally:
        # A second Ctrl-C must not leave half of the service running.
        before = {n: signal.signal(n, signal.SIG_IGN) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        for process in reversed(processes.values()):
            stop(process)
        shutil.rmtree(folder, ignore_errors=True)
        for number, handler in before.items():
            signal.signal(number, handler)


def wait_until_ready(settings: Settings, processes: Processes, logs: Path) -> None:
    """Return when both pools have made a real prediction.

    Raises:
        ServeError: a process ended, or it took too long.
    """
    deadline = time.monotonic() + START_SECONDS
    explain_pool = f"{settings.torchserve_url}/predictions/{EXPLAIN_POOL}"
    with httpx.Client(timeout=PROBE_SECONDS, trust_env=False) as client:
        while not (is_ready(settings) and _predicts(client, explain_pool)):
            refuse_dead(processes, logs)
            refuse_dying_workers(logs)
            if time.monotonic() > deadline:
                raise ServeError(f"no prediction after {START_SECONDS:.0f} s: see {logs / 'torchserve.log'}")
            time.sleep(0.3)


def _predicts(client: httpx.Client, url: str) -> bool:
    try:
        return client.post(url, content=PROBE.image).status_code == 200
    except httpx.HTTPError:
        return False


def is_ready(settings: Settings) -> bool:
    """Whether a service answers at the settings' address, and can predict."""
    try:
        answer = httpx.get(f"{settings.url}/readyz", timeout=PROBE_SECONDS, trust_env=False)
        return bool(answer.json() == {"status": "ready"})
    except (httpx.HTTPError, ValueError):  # nobody answers, or not with JSON
        return False


def watch(processes: Processes, logs: Path) -> NoReturn:
    """Wait for a signal.

    Raises:
        ServeError: a process ended by itself.
    """
    while True:
        refuse_dead(processes, logs)
        time.sleep(0.5)


def refuse_dead(processes: Processes, logs: Path) -> None:
    """Raise :class:`ServeError`, with the end of its log, for a process that has ended."""
    for name, process in processes.items():
        if process.poll() is not None:
            log = logs / f"{name}.log"
            last = log.read_text(errors="replace").strip().splitlines()[-5:]
            raise ServeError("\n".join([f"{name} ended with exit code {process.returncode}; {log} ends with:", *last]))


def refuse_dying_workers(logs: Path) -> None:
    """Raise :class:`ServeError` if workers die at start: TorchServe retries for minutes and calls itself healthy."""
    text = (logs / "torchserve.log").read_text(errors="replace")
    if text.count("Backend worker process died") >= 2:
        reasons = re.findall(r"MODEL_LOG - (\w+(?:\.\w+)*(?:Error|Exception): .*)", text)
        raise ServeError(f"the model cannot be loaded: {reasons[-1] if reasons else 'see the log'}\nsee {logs}")


def refuse_taken_port(url: str) -> None:
    """Raise :class:`ServeError` if nothing can listen at ``url``."""
    parts = urlsplit(url)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((parts.hostname, parts.port))
        except OSError as error:
            raise ServeError(
                f"{parts.hostname}:{parts.port} cannot be used ({error.strerror}): stop what listens there, or choose "
                "other ports with MLBIO_PORT and MLBIO_TORCHSERVE_URL"
            ) from None


def _raise_stopped(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


if __name__ == "__main__":
    sys.exit(main())
