"""What tests share: the real service, pictures to send, and where the large data lies."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
import requests
import torch
from PIL import Image
from torchvision.models import resnet34

from gateway.serve import free_port, torchserve_addresses
from gateway.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
START_SECONDS = 280


@dataclass
class Service:
    """A running service: TorchServe with both pools and the gateway, started by the documented command."""

    url: str
    torchserve_url: str
    process: subprocess.Popen
    logs: Path

    def predict(self, fields: object, **options) -> requests.Response:
        """``POST /predict`` with JSON."""
        return requests.post(f"{self.url}/predict", json=fields, **({"timeout": 300} | options))


def start_service(folder: Path) -> Service:
    """``python -m gateway.serve`` on free ports. It is the caller's to stop."""
    ports = free_addresses()
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.serve", "--logs", str(folder)],
        cwd=ROOT,
        env=os.environ | ports,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    watchdog = threading.Timer(START_SECONDS, process.terminate)
    watchdog.start()
    printed = []
    for line in process.stdout:
        printed.append(line)
        if "a prediction works" in line:
            watchdog.cancel()
            return Service(f"http://127.0.0.1:{ports['MLBIO_PORT']}", ports["MLBIO_TORCHSERVE_URL"], process, folder)
    watchdog.cancel()
    log = folder / "torchserve.log"
    pytest.fail(f"the service did not start:\n{''.join(printed)}\n{log.read_text()[-3000:] if log.exists() else ''}")


def stop_service(service: Service) -> int:
    """SIGTERM, as a container's engine or an init system sends it; returns the exit code."""
    service.process.send_signal(signal.SIGTERM)
    try:
        return service.process.wait(timeout=60)
    finally:
        service.process.stdout.close()


def free_addresses() -> dict[str, str]:
    """For the environment of a service: ports that nobody uses."""
    return {
        "MLBIO_PORT": str(free_port()),
        "MLBIO_TORCHSERVE_URL": f"http://127.0.0.1:{free_ports_in_a_row(3)}",
    }


def bare_environment(folder: Path, settings: Settings) -> dict[str, str]:
    """For TorchServe started without us: addresses, and a temporary folder of its own, which is made."""
    (folder / "tmp").mkdir()
    return {
        "TEMP": str(folder / "tmp"),
        "TMPDIR": str(folder / "tmp"),
        "TS_GRPC_INFERENCE_PORT": str(free_port()),
        "TS_GRPC_MANAGEMENT_PORT": str(free_port()),
        **{f"TS_{name.upper()}": url for name, url in torchserve_addresses(settings).items()},
    }


def free_ports_in_a_row(count: int) -> int:
    """The first of ``count`` free ports; TorchServe's management and metrics stand behind its inference."""
    while True:
        first = free_port()
        try:
            with ExitStack() as stack:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
        except OSError:
            continue


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests that do not harm it."""
    running = start_service(tmp_path_factory.mktemp("service"))
    yield running
    assert stop_service(running) == 0


@pytest.fixture(scope="session")
def example_images() -> list[Path]:
    """The drawn pictures that ship."""
    pictures = sorted((ROOT / "examples").glob("drawn_*.jpg"))
    assert len(pictures) >= 3
    return pictures


@pytest.fixture(scope="session")
def endless() -> str:
    """Plain skin in base64: no region counts, no ranking settles, so an explanation takes all the samples it may."""
    return encode(Image.new("RGB", (64, 64), (210, 170, 150)), "PNG")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with HAM10000, photographs and weights."""
    if not (SHARED / "ham10000").is_dir():
        pytest.skip("needs ../shared (HAM10000, photographs, weights), which is not here")
    return SHARED


def encode(image: Image.Image | bytes, kind: str = "JPEG", **options) -> str:
    """A picture as the base64 of a file."""
    if isinstance(image, Image.Image):
        file = BytesIO()
        image.save(file, kind, **options)
        image = file.getvalue()
    return base64.b64encode(image).decode()


@pytest.fixture(scope="session")
def init(tmp_path_factory) -> Path:
    """Random weights of a ResNet34 with a thousand classes, as torchvision's are."""
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("init") / "random.pth"
    torch.save({name: v.half() if v.is_floating_point() else v for name, v in resnet34().state_dict().items()}, path)
    return path
