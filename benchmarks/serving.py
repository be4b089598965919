"""Requests per second and latency of the service beside the same weights served the plain way, in one run.

.venv/bin/python benchmarks/serving.py                  a drawn example of 600 x 450 pixels
.venv/bin/python benchmarks/serving.py --photo PHOTO

It needs wrk (`apt-get install wrk`), which makes the load, and installs FastAPI, LitServe and BentoML into build/peers.
The peers compute in float32 with torch; TorchServe's is its own `image_classifier`. LitServe and BentoML batch.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests
import torch
from PIL import Image

from api.classes import CLASSES
from benchmarks.peers.plain import CHECKPOINT_VARIABLE
from benchmarks.service import running_service
from benchmarks.speed import median_seconds
from handler.model.checkpoint import Checkpoint
from handler.model.images import read_square
from handler.predictor import Predictor
from supervisor.components import java_home
from supervisor.processes import free_port

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINT = ROOT / "model_store" / "model_mlbio.pth"
PEERS = ROOT / "build" / "peers"
CLIENTS = (1, 8, 64)
START_SECONDS = 120.0

WRK_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = os.getenv("CONTENT_TYPE")
local file = io.open(os.getenv("BODY"), "rb"); wrk.body = file:read("*a"); file:close()
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format('{"requests": %d, "microseconds": %d, "p50": %f, "p95": %f, "p99": %f, "failed": %d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(95), latency:percentile(99),
    e.status + e.timeout + e.connect + e.read + e.write))
end
"""

MODEL_FILE = f"""
from torchvision.models.resnet import BasicBlock, ResNet
class ResNet34(ResNet):
    def __init__(self):
        super().__init__(BasicBlock, [3, 4, 6, 3], num_classes={len(CLASSES)})
"""


@dataclass(frozen=True)
class Load:
    """One run of wrk: requests per second, milliseconds, and how many requests failed."""

    rate: float
    p50: float
    p95: float
    p99: float
    failed: int


@dataclass(frozen=True)
class Target:
    """Where to send what."""

    url: str
    body: bytes
    content_type: str = "application/json"


def main() -> None:
    """Print the tables."""
    p = argparse.ArgumentParser(description="Requests per second and latency, beside the plain ways of serving.")
    p.add_argument("--photo", type=Path, help="photograph to send (default: a drawn example of 600 x 450 pixels)")
    p.add_argument("--seconds", type=int, default=10, help="of load for each number of clients (default: 10)")
    arguments = p.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("serving.py: wrk is not installed: apt-get install wrk")
    install_peers()
    photo = arguments.photo.read_bytes() if arguments.photo else drawn_photograph()
    contestants: dict[str, Callable[[bytes], contextlib.AbstractContextManager[Target]]] = {
        "ours": ours,
        "LitServe": litserve,
        "BentoML": bentoml,
        "FastAPI": fastapi,
        "TorchServe's image_classifier": image_classifier,
    }
    bound, milliseconds = print_bound(photo)
    print("\n| | clients | requests/s | p50 ms | p95 ms | p99 ms | failed |\n" + "| --- " * 7 + "|", flush=True)
    rates: dict[str, list[float]] = {}
    alone = 0.0
    for name, start in contestants.items():
        with start(photo) as target:
            wrk(target, 2, 3)  # warm-up
            for clients in CLIENTS:
                load = wrk(target, clients, arguments.seconds)
                rates.setdefault(name, []).append(load.rate)
                alone = alone or load.p50
                figures = f"{load.rate:.1f} | {load.p50:.0f} | {load.p95:.0f} | {load.p99:.0f} | {load.failed}"
                print(f"| {name} | {clients} | {figures} |", flush=True)
    best_peer = max(max(values) for name, values in rates.items() if name != "ours")
    print(f"\nours / best peer: {max(rates['ours']) / best_peer:.1f} (most requests/s of each)")
    print(f"ours / bound: {max(rates['ours']) / bound:.2f} (requests/s)")
    print(f"one client: median {alone:.0f} ms, of which decoding and engine alone take {milliseconds:.0f} ms")


def print_bound(photo: bytes) -> tuple[float, float]:
    """What decoding and engine alone allow: requests/s of all cores, and milliseconds of one photograph."""
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(ROOT / "model_store" / "mlbio.mar").extractall(folder)
        classifier = Predictor.from_graphs(Path(folder), Path(folder) / CHECKPOINT.name).classifier
        decode = median_seconds(lambda: read_square(photo), 50)
        one = read_square(photo)[None]
        eight = one.repeat(8, axis=0)
        single = median_seconds(lambda: classifier.assess(one), 30)
        batch = median_seconds(lambda: classifier.assess(eight), 30)
    engine = min(single, batch / 8)
    rate = 1 / (engine + decode / cores)
    print(
        f"decoding {1000 * decode:.1f} ms of one core; engine ({classifier.arithmetic}, {cores} cores) "
        f"{1 / engine:.0f} images/s, one image {1000 * single:.1f} ms; together at most {rate:.0f} requests/s"
    )
    return rate, 1000 * (decode + single)


def drawn_photograph() -> bytes:
    """A drawn example as a JPEG of 600 x 450 pixels, the size of HAM10000's photographs."""
    buffer = io.BytesIO()
    with Image.open(ROOT / "examples" / "drawn_nevus.jpg") as drawn:
        drawn.resize((600, 450), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def install_peers() -> None:
    """The peers' packages in a folder of their own; torch and Pillow are the project's."""
    wanted = ROOT / "benchmarks" / "peers" / "requirements.txt"
    stamp = PEERS / "installed.txt"
    if stamp.exists() and stamp.read_text() == wanted.read_text():
        return
    shutil.rmtree(PEERS, ignore_errors=True)
    print("installing the peers into build/peers ...", file=sys.stderr)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(PEERS), "-r", str(wanted)]
    ended = subprocess.run(pip, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"serving.py: the peers cannot be installed:\n{ended.stderr}")
    stamp.write_text(wanted.read_text())


def wrk(target: Target, clients: int, seconds: int) -> Load:
    """Load for some seconds, by clients that ask again as soon as they have an answer."""
    with tempfile.TemporaryDirectory() as folder:
        script, body = Path(folder, "post.lua"), Path(folder, "body")
        script.write_text(WRK_SCRIPT)
        body.write_bytes(target.body)
        command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "60s", "-s", str(script), target.url]
        environment = os.environ | {"BODY": str(body), "CONTENT_TYPE": target.content_type}
        output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    figures = json.loads(next(line for line in output.splitlines() if line.startswith("{")))
    rate = figures["requests"] / (figures["microseconds"] / 1e6)
    return Load(rate, figures["p50"] / 1000, figures["p95"] / 1000, figures["p99"] / 1000, figures["failed"])


def as_json(photo: bytes) -> bytes:
    """The documented body."""
    return json.dumps({"image": base64.b64encode(photo).decode()}).encode()


@contextlib.contextmanager
def ours(photo: bytes) -> Iterator[Target]:
    """The whole service, gateway and both pools, as ``make serve`` starts it."""
    with running_service() as (url, _, _):
        yield Target(f"{url}/predict", as_json(photo))


@contextlib.contextmanager
def fastapi(photo: bytes) -> Iterator[Target]:
    """:mod:`benchmarks.peers.with_fastapi`."""
    port = free_port()
    target = Target(f"http://127.0.0.1:{port}/predict", as_json(photo))
    command = ["-m", "uvicorn", "benchmarks.peers.with_fastapi:app", "--port", str(port), "--log-level", "warning"]
    with running(command, target):
        yield target


@contextlib.contextmanager
def litserve(photo: bytes) -> Iterator[Target]:
    """:mod:`benchmarks.peers.with_litserve`."""
    port = free_port()
    target = Target(f"http://127.0.0.1:{port}/predict", as_json(photo))
    with running(["-m", "benchmarks.peers.with_litserve", str(port)], target):
        yield target


@contextlib.contextmanager
def bentoml(photo: bytes) -> Iterator[Target]:
    """:mod:`benchmarks.peers.with_bentoml`."""
    port = free_port()
    body = json.dumps({"image": [base64.b64encode(photo).decode()]}).encode()
    target = Target(f"http://127.0.0.1:{port}/predict", body)
    command = ["-m", "bentoml", "serve", "benchmarks.peers.with_bentoml:Service", "--port", str(port)]
    with running([*command, "--host", "127.0.0.1"], target):
        yield target


@contextlib.contextmanager
def image_classifier(photo: bytes) -> Iterator[Target]:
    """TorchServe with its stock handler and its default settings."""
    inference, management, metrics = free_port(), free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        model, weights, config = Path(folder, "model.py"), Path(folder, "weights.pth"), Path(folder, "config")
        model.write_text(MODEL_FILE)
        torch.save(Checkpoint.load(CHECKPOINT).network().state_dict(), weights)
        names = Path(folder, "index_to_name.json")
        names.write_text(json.dumps({str(i): str(i) for i in range(len(CLASSES))}))
        ports = {"inference": inference, "management": management, "metrics": metrics}
        config.write_text("".join(f"{name}_address=http://127.0.0.1:{port}\n" for name, port in ports.items()))
        scripts = Path(sys.executable).parent
        archiver = [str(scripts / "torch-model-archiver"), "--model-name", "stock", "--version", "1.0"]
        archiver += ["--model-file", str(model), "--serialized-file", str(weights), "--extra-files", str(names)]
        subprocess.run([*archiver, "--handler", "image_classifier", "--export-path", folder], check=True)
        command = ["-m", "ts.model_server", "--start", "--foreground", "--ncs", "--disable-token-auth"]
        command += ["--model-store", folder, "--models", "stock=stock.mar", "--ts-config", str(config)]
        environment = {"JAVA_HOME": java_home(), "TMPDIR": folder, "TEMP": folder, "LOG_LOCATION": folder}
        environment |= {"METRICS_LOCATION": folder, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
        environment |= {f"TS_GRPC_{name}_PORT": str(free_port()) for name in ("INFERENCE", "MANAGEMENT")}
        environment["TS_ENABLE_ENVVARS_CONFIG"] = "true"
        target = Target(f"http://127.0.0.1:{inference}/predictions/stock", photo, "application/octet-stream")
        with running(command, target, environment):
            yield target


@contextlib.contextmanager
def running(arguments: list[str], target: Target, environment: dict[str, str] | None = None) -> Iterator[None]:
    """A server of Python that answers at ``target``; stopped at the end with all that it started."""
    paths = os.pathsep.join([str(PEERS), str(ROOT)])
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as log:
        settings = {"PYTHONPATH": paths, CHECKPOINT_VARIABLE: str(CHECKPOINT), "BENTOML_HOME": folder}
        settings |= {"BENTOML_DO_NOT_TRACK": "true", "LITSERVE_DISABLE_UPDATE_CHECK": "1"} | (environment or {})
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, env=os.environ | settings, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            until = time.monotonic() + START_SECONDS
            while not answers(target):
                if process.poll() is not None or time.monotonic() > until:
                    log.seek(0)
                    raise SystemExit(f"serving.py: {arguments} does not answer:\n{log.read()[-3000:]}")
                time.sleep(0.5)
            yield
        finally:
            stop(process)


def answers(target: Target) -> bool:
    """Whether the photograph gets an answer."""
    try:
        return requests.post(target.url, data=target.body, headers={"Content-Type": target.content_type}, timeout=30).ok
    except requests.RequestException:
        return False


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server and its descendants, by their ids."""
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    for descendant in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            descendant.kill()
    if process.poll() is None:
        process.kill()
    process.wait()


if __name__ == "__main__":
    main()
