"""Starts and stops the other servers of the comparison."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psutil
import requests

from api.classes import CLASSES
from benchmarks.common import CHECKPOINT, ROOT
from benchmarks.load import Target, as_json
from supervisor.components import java_home
from supervisor.processes import free_port

PACKAGES = ROOT / "build" / "peers"
START_SECONDS = 120.0

MODEL_FILE = f"""
from handler.model.network import Network
class Model(Network):
    def __init__(self):
        super().__init__({len(CLASSES)})
"""
"""For TorchServe's ``image_classifier``, which requires a file with one class without arguments."""

Server = Callable[[bytes], AbstractContextManager[Target]]
"""Starts a server for a photograph, yields the request for it, and stops the server."""


def install_packages() -> None:
    """Install the servers' packages into a separate folder; torch and Pillow are the project's."""
    wanted = ROOT / "benchmarks" / "peers" / "requirements.txt"
    stamp = PACKAGES / "installed.txt"
    if stamp.exists() and stamp.read_text() == wanted.read_text():
        return
    shutil.rmtree(PACKAGES, ignore_errors=True)
    print("installing the peers into build/peers ...", file=sys.stderr)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(PACKAGES), "-r", str(wanted)]
    ended = subprocess.run(pip, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"the peers cannot be installed:\n{ended.stderr}")
    stamp.write_text(wanted.read_text())


def litserve(photo: bytes) -> AbstractContextManager[Target]:
    """:mod:`benchmarks.peers.with_litserve`."""
    return on_free_port(["benchmarks.peers.with_litserve", "{port}"], as_json(photo))


def bentoml(photo: bytes) -> AbstractContextManager[Target]:
    """:mod:`benchmarks.peers.with_bentoml`."""
    command = ["bentoml", "serve", "benchmarks.peers.with_bentoml:Service", "--host", "127.0.0.1", "--port", "{port}"]
    return on_free_port(command, json.dumps({"image": [base64.b64encode(photo).decode()]}).encode())


def fastapi(photo: bytes) -> AbstractContextManager[Target]:
    """:mod:`benchmarks.peers.with_fastapi`."""
    command = ["uvicorn", "benchmarks.peers.with_fastapi:app", "--log-level", "warning", "--port", "{port}"]
    return on_free_port(command, as_json(photo))


@contextmanager
def image_classifier(photo: bytes) -> Iterator[Target]:
    """TorchServe with its stock handler and its default settings."""
    import torch

    from handler.model.checkpoint import Checkpoint

    ports = {name: free_port() for name in ("inference", "management", "metrics")}
    with tempfile.TemporaryDirectory() as folder:
        model, weights, config = Path(folder, "model.py"), Path(folder, "weights.pth"), Path(folder, "config")
        model.write_text(MODEL_FILE)
        torch.save(Checkpoint.load(CHECKPOINT).network().state_dict(), weights)
        names = Path(folder, "index_to_name.json")
        names.write_text(json.dumps({str(i): str(i) for i in range(len(CLASSES))}))
        config.write_text("".join(f"{name}_address=http://127.0.0.1:{port}\n" for name, port in ports.items()))
        scripts = Path(sys.executable).parent
        archiver = [str(scripts / "torch-model-archiver"), "--model-name", "stock", "--version", "1.0"]
        archiver += ["--model-file", str(model), "--serialized-file", str(weights), "--extra-files", str(names)]
        subprocess.run([*archiver, "--handler", "image_classifier", "--export-path", folder], check=True)
        command = ["ts.model_server", "--start", "--foreground", "--ncs", "--disable-token-auth"]
        command += ["--model-store", folder, "--models", "stock=stock.mar", "--ts-config", str(config)]
        environment = {"JAVA_HOME": java_home(), "TMPDIR": folder, "TEMP": folder, "LOG_LOCATION": folder}
        environment |= {"METRICS_LOCATION": folder, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
        environment |= {f"TS_GRPC_{name}_PORT": str(free_port()) for name in ("INFERENCE", "MANAGEMENT")}
        environment["TS_ENABLE_ENVVARS_CONFIG"] = "true"
        url = f"http://127.0.0.1:{ports['inference']}/predictions/stock"
        with running(command, Target(url, photo, "application/octet-stream"), environment) as target:
            yield target


SERVERS: dict[str, Server] = {
    "LitServe": litserve,
    "BentoML": bentoml,
    "FastAPI": fastapi,
    "TorchServe's `image_classifier`": image_classifier,
}


def on_free_port(command: list[str], body: bytes) -> AbstractContextManager[Target]:
    """:func:`running` with a free port in place of ``{port}``."""
    port = free_port()
    target = Target(f"http://127.0.0.1:{port}/predict", body)
    return running([argument.format(port=port) for argument in command], target)


@contextmanager
def running(command: list[str], target: Target, environment: dict[str, str] | None = None) -> Iterator[Target]:
    """Run ``python -m COMMAND`` and wait until ``target`` answers; stop the server with its descendants at the end."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as log:
        settings = {
            "PYTHONPATH": os.pathsep.join([str(PACKAGES), str(ROOT)]),
            "MLBIO_BENCHMARK_CHECKPOINT": str(CHECKPOINT),
            "BENTOML_HOME": folder,
            "BENTOML_DO_NOT_TRACK": "true",
            "LITSERVE_DISABLE_UPDATE_CHECK": "1",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=os.environ | settings | (environment or {}),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline = time.monotonic() + START_SECONDS
            while not answers(target):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise SystemExit(f"{command[0]} does not answer:\n{log.read()[-3000:]}")
                time.sleep(0.5)
            yield target
        finally:
            stop(process)


def answers(target: Target) -> bool:
    """Whether a request succeeds."""
    try:
        return requests.post(target.url, data=target.body, headers={"Content-Type": target.content_type}, timeout=30).ok
    except requests.RequestException:
        return False


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a server and its descendants."""
    descendants = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    for descendant in descendants:
        with contextlib.suppress(psutil.NoSuchProcess):
            descendant.kill()
    if process.poll() is None:
        process.kill()
    process.wait()
