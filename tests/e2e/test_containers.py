"""``docker-compose up -d`` on a real Docker Engine: three images are built, started, used, killed and stopped."""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from selenium.webdriver import Chrome

from api.client import Client
from api.service_errors import RequestRefused
from supervisor.processes import free_port
from tests.conftest import ROOT
from tests.e2e.engine import Engine, obstacle, running_engine
from tests.e2e.page import RESULT, open_page, upload, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

SERVICES = ("torchserve", "gateway", "frontend")
KEY = "a-key-of-the-tests-0123456789"
BACKEND = os.environ.get("TORCH_BACKEND", "")
"""The build of torch; PyPI's unless given, as PyTorch's own index may be out of reach of a machine that runs tests."""
TORCHSERVE_BYTES = 2e9 if BACKEND == "cpu" else 8e9
"""Largest size of the model server's image."""


@dataclass
class Stack:
    """The three containers and the seconds that each step took."""

    engine: Engine
    url: str
    page: str
    seconds: dict[str, float] = field(default_factory=dict)

    def measure(self, step: str, *arguments: str, healthy: tuple[str, ...] = ()) -> None:
        """Run docker-compose, wait for services to be healthy, and record how long it took."""
        start = time.monotonic()
        self.engine.compose(*arguments, timeout=1200)
        if healthy:
            self.engine.wait_until_healthy(*healthy)
        self.seconds[step] = time.monotonic() - start


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    reason = obstacle()
    if reason:
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    ports = {"MLBIO_PORT": free_port(), "MLBIO_PAGE_PORT": free_port()}
    with running_engine({name: str(port) for name, port in ports.items()} | {"TORCH_BACKEND": BACKEND}) as engine:
        stack = Stack(engine, *(f"http://127.0.0.1:{port}" for port in ports.values()))
        try:
            stack.measure("build", "build")
            stack.measure("up to healthy", "up", "-d", healthy=SERVICES)
            yield stack
        finally:
            if engine.compose("ps", "-q"):
                engine.compose("down", "-v", "-t", "5")


def test_the_command_line_classifies_and_explains(stack: Stack, example_images: list[Path], tmp_path: Path):
    photo = Path(shutil.copy(example_images[0], tmp_path))
    done = subprocess.run(
        [sys.executable, "cli/client.py", "--explain", "--precision", "Faible", str(photo)],
        cwd=ROOT,
        env=os.environ | {"MLBIO_URL": stack.url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d+\.\d%", done.stdout)
    assert photo.with_name(f"{photo.stem}_explained.png").is_file()


def test_the_page_classifies_a_photograph(stack: Stack, browser: Chrome, example_images: list[Path]):
    open_page(browser, stack.page)
    upload(browser, example_images[:1])
    (diagnosis,) = wait_for(browser, RESULT, 1)
    assert diagnosis == Client(stack.url).predict(example_images[0]).prediction


def test_the_page_reaches_the_gateway_by_its_name(stack: Stack):
    assert "200" in inside(stack, "frontend", "http://gateway:8089/readyz")


def test_only_the_gateway_reaches_the_model_and_nothing_its_management(stack: Stack):
    assert "200" in inside(stack, "gateway", "http://torchserve:8080/ping")
    assert "200" not in inside(stack, "gateway", "http://torchserve:8081/models")
    assert "200" not in inside(stack, "frontend", "http://torchserve:8080/ping")


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_has_no_privileges(stack: Stack, service: str):
    status = stack.engine.compose("exec", "-T", service, "cat", "/proc/self/status")
    figures = dict(line.split(":\t", 1) for line in status.splitlines())
    assert figures["Uid"].split() == ["10001"] * 4
    assert int(figures["CapEff"], 16) == 0 and figures["NoNewPrivs"] == "1"


def test_the_model_servers_image_is_within_its_limit_and_its_torch_sees_no_gpu(stack: Stack):
    assert stack.engine.inspect("mlbio-torchserve")["Size"] <= TORCHSERVE_BYTES
    code = "import torch as t; print(t.cuda.is_available(), t.cuda.device_count(), float(t.ones(8) @ t.ones(8)))"
    assert stack.engine.compose("exec", "-T", "torchserve", "python", "-c", code).split() == ["False", "0", "8.0"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_writes_only_where_it_may(stack: Stack, service: str):
    container = stack.engine.container(service)
    script = (
        "touch /tmp/new && rm /tmp/new; for f in /app/new /home/mlbio/new /var/tmp/new; do touch $f 2>&1; done; true"
    )
    printed = stack.engine.compose("exec", "-T", service, "sh", "-c", script).splitlines()
    assert len(printed) == 3 and all("Read-only file system" in line for line in printed), printed
    limit = stack.engine.inspect(container)["HostConfig"]["Memory"]
    assert limit == int(stack.engine.compose("exec", "-T", service, "cat", memory_limit_file(stack, service)))


@pytest.mark.parametrize("service", SERVICES)
def test_a_killed_container_comes_back_and_the_others_stay(stack: Stack, service: str, example_images: list[Path]):
    """By the host's number of its process, as `docker kill` would count as an intended stop."""
    containers = {name: stack.engine.container(name) for name in SERVICES}
    before = {name: stack.engine.inspect(container)["State"]["Pid"] for name, container in containers.items()}
    start = time.monotonic()
    os.kill(before[service], signal.SIGKILL)
    if service == "torchserve":
        answers = requests_until_served(stack, example_images[0])
        assert set(answers) == {503, 200}, answers
    elif service == "frontend":
        assert Client(stack.url).predict(example_images[0]).prediction  # no page is needed for that
    while stack.engine.inspect(containers[service])["State"]["Pid"] in (0, before[service]):
        assert time.monotonic() < start + 60
        time.sleep(0.2)
    stack.engine.wait_until_healthy(*SERVICES)
    stack.seconds[f"{service} killed to healthy"] = time.monotonic() - start
    after = {name: stack.engine.inspect(container)["State"]["Pid"] for name, container in containers.items()}
    assert {name for name in SERVICES if after[name] != before[name]} == {service}
    assert stack.engine.inspect(containers[service])["RestartCount"] == 1
    assert Client(stack.url).predict(example_images[0]).prediction


def test_with_a_file_of_keys_only_they_get_answers(
    stack: Stack, browser: Chrome, example_images: list[Path], tmp_path: Path
):
    assert "Traceback" not in stack.engine.compose("logs", "--no-color")  # of containers that will be gone
    keys = tmp_path / "keys"
    keys.write_text(f"page:{KEY}\n")
    keys.chmod(0o644)  # for user 10001
    stack.engine.environment.update(MLBIO_API_KEYS_FILE=str(keys), MLBIO_API_KEY=KEY)
    files = ("-f", "docker-compose.yml", "-f", "deploy/compose.keys.yml")
    stack.measure("keys to healthy", *files, "up", "-d", healthy=SERVICES)
    with pytest.raises(RequestRefused, match="MLBIO_API_KEY"):
        Client(stack.url).predict(example_images[0])
    answer = Client(stack.url, key=KEY).predict(example_images[0])
    open_page(browser, stack.page)  # which has a key of its own
    upload(browser, example_images[:1])
    assert wait_for(browser, RESULT, 1) == [answer.prediction]


def test_it_is_taken_down_at_once(stack: Stack, capsys: pytest.CaptureFixture[str]):
    engine = stack.engine
    containers = {service: engine.container(service) for service in SERVICES}
    memory = {
        service: engine.docker("stats", "--no-stream", "--format", "{{.MemUsage}}", containers[service])
        for service in SERVICES
    }
    sizes = {service: engine.inspect(f"mlbio-{service}")["Size"] for service in SERVICES}
    logs = engine.compose("logs", "--no-color")
    stack.measure("down", "down", "-v")
    with capsys.disabled():
        print(f"\n\n{'image':12}{'size':>10}{'memory':>12}")
        for service in SERVICES:
            print(f"{service:12}{sizes[service] / 1e6:7,.0f} MB{memory[service].split(' /')[0]:>12}")
        for step, seconds in stack.seconds.items():
            print(f"{step}: {seconds:.0f} s")
    assert "Traceback" not in logs
    assert engine.docker("ps", "-aq") == ""
    assert stack.seconds["down"] < 60


def requests_until_served(stack: Stack, photograph: Path, seconds: float = 180) -> list[int]:
    """The statuses of predictions that are asked for one after another, the last one 200.

    Every other has to say what is wrong, in the form that a failure has.
    """
    body = {"image": base64.b64encode(photograph.read_bytes()).decode(), "explain": False}
    statuses: list[int] = []
    deadline = time.monotonic() + seconds
    while not statuses or statuses[-1] != 200:
        assert time.monotonic() < deadline, statuses
        patient = {"prefer": "wait=90"}
        response = httpx.post(f"{stack.url}/predict", json=body, headers=patient, timeout=100, trust_env=False)
        statuses.append(response.status_code)
        if response.status_code != 200:
            failure = response.json()
            assert failure["success"] is False and failure["error"], failure
        time.sleep(0.3)
    return statuses


def memory_limit_file(stack: Stack, service: str) -> str:
    """Where the kernel shows a container its limit: control groups, version 2 or 1."""
    files = "/sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes"
    return stack.engine.compose("exec", "-T", service, "sh", "-c", f"ls {files} 2>/dev/null || true").split()[0]


def inside(stack: Stack, service: str, url: str) -> str:
    """The status of a GET from inside a container, or the error."""
    code = (
        "import sys, urllib.request\n"
        "try: print(urllib.request.urlopen(sys.argv[1], timeout=5).status)\n"
        "except OSError as error: print(error)"
    )
    return stack.engine.compose("exec", "-T", service, "python", "-c", code, url)
