"""The real service for end-to-end tests."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from selenium import webdriver

from gateway.processes import free_port, torchserve_addresses
from gateway.settings import Settings
from tests.conftest import ROOT
from tests.e2e.page import CHROMIUM_FLAGS, PATIENCE

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
    """``python -m gateway.serve`` on free ports. The caller stops it."""
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
