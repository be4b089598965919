"""The real service for end-to-end tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
import requests
from selenium import webdriver

from api.headers import EXPLAIN_POOL, POOL
from gateway.server import make_server
from gateway.settings import Settings
from gateway.torchserve import torchserve_addresses
from supervisor.processes import free_port, free_ports_in_a_row
from tests.conftest import ROOT
from tests.e2e.page import CHROMIUM_FLAGS, PATIENCE

START_SECONDS = 280
SERVER, GATEWAY = "org.pytorch.serve.ModelServer", "-m gateway"
"""What the command lines of a service's processes have in them."""


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

    def processes(self, *words: str) -> list[psutil.Process]:
        """Those of the service whose command line has each of ``words``; all of them without words."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if all(f" {word} " in f" {' '.join(process.cmdline())} " for word in words):
                    found.append(process)
        return found

    def workers(self) -> dict[str, psutil.Process]:
        """By pool, as TorchServe's management API tells."""
        host, port = self.torchserve_url.rsplit(":", 1)
        found = {}
        for pool in (POOL, EXPLAIN_POOL):
            (model,) = requests.get(f"{host}:{int(port) + 1}/models/{pool}", timeout=10).json()
            (worker,) = model["workers"]
            found[pool] = psutil.Process(worker["pid"])
        return found


class Gateway:
    """A real gateway in this process, with settings of its own."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings = replace(settings, port=free_port())
        self.url = f"http://127.0.0.1:{settings.port}"
        self.server = make_server(settings)
        self.endpoint = self.server.config.app.state.predict
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self) -> Gateway:
        self.thread.start()
        wait_for(lambda: requests.get(f"{self.url}/healthz", timeout=5).ok, 30)
        return self

    def __exit__(self, *exception) -> None:
        self.server.should_exit = True
        self.thread.join(20)

    def predict(self, headers: dict[str, str] | None = None, **fields) -> requests.Response:
        return requests.post(f"{self.url}/predict", json=fields, headers=headers, timeout=200)


def wait_for(condition, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except requests.RequestException:
            pass
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.3)


def start_service(folder: Path, launcher: list[str] | None = None, **environment: str) -> Service:
    """``python -m supervisor`` on free ports, or ``launcher``, which runs it. The caller stops it."""
    ports = free_addresses()
    process = subprocess.Popen(
        launcher or [sys.executable, "-m", "supervisor", "--logs", str(folder)],
        cwd=ROOT,
        env=os.environ | ports | environment,
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
    """Environment of a service on free ports."""
    return {
        "MLBIO_PORT": str(free_port()),
        "MLBIO_TORCHSERVE_URL": f"http://127.0.0.1:{free_ports_in_a_row(3)}",
    }


def bare_environment(folder: Path, settings: Settings) -> dict[str, str]:
    """Environment of a bare TorchServe: addresses, and a temporary folder of its own, which is created."""
    (folder / "tmp").mkdir()
    return {
        "TEMP": str(folder / "tmp"),
        "TMPDIR": str(folder / "tmp"),
        "TS_GRPC_INFERENCE_PORT": str(free_port()),
        "TS_GRPC_MANAGEMENT_PORT": str(free_port()),
        **{f"TS_{name.upper()}": url for name, url in torchserve_addresses(settings).items()},
    }


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service, shared by all tests that do not harm it."""
    running = start_service(tmp_path_factory.mktemp("service"))
    yield running
    assert stop_service(running) == 0


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Headless Chromium that logs every request it makes."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        reason = "chromium and chromedriver are not on PATH"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in [*CHROMIUM_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    chrome.set_page_load_timeout(PATIENCE)
    yield chrome
    chrome.quit()
