"""The supervisor, with everything that it starts: what is killed comes back, and what is stopped leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from api.headers import EXPLAIN_POOL, POOL, STREAM_TYPE
from supervisor.processes import free_port
from supervisor.runtime import PREFIX, runtime_folder
from tests.conftest import ROOT, encode
from tests.e2e.conftest import GATEWAY, SERVER, Service, free_addresses, start_service, wait_for
from tests.e2e.test_gateway import refused

LOG_BYTES = 20_000
PAGE = "streamlit run frontend/app.py"
"""What the command line of the page's process has in it."""

BRIEFLY = {"prefer": "wait=3"}
"""An explanation that takes a few seconds on any machine."""


@pytest.fixture(scope="module")
def temporary() -> Iterator[Path]:
    """A temporary folder of the services' own, to see what they leave in it. Its name is short, as sockets need."""
    with tempfile.TemporaryDirectory(prefix="mlbio-t-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, temporary: Path) -> Iterator[Service]:
    """A service with its page started by make, as by `make app`, with small logs. The last test stops it."""
    folder = tmp_path_factory.mktemp("app")
    (folder / "Makefile").write_text(f"app:\n\t@exec {sys.executable} -m supervisor --page --logs {folder}/logs\n")
    environment = {"TMPDIR": str(temporary), "MLBIO_LOG_BYTES": str(LOG_BYTES), "MLBIO_PAGE_PORT": str(free_port())}
    environment |= {"BROWSER": "true"}
    service = start_service(folder / "logs", ["make", "-f", str(folder / "Makefile"), "app"], **environment)
    assert service.process.stdout.readline() == f"the page: {page_address(service)} (Ctrl-C stops everything)\n"
    yield service
    if service.process.poll() is None:  # a test has failed, or some were left out
        os.killpg(service.process.pid, signal.SIGTERM)
        service.process.wait(60)
    service.process.stdout.close()


@pytest.fixture(scope="module")
def photograph(example_images: list[Path]) -> str:
    return encode(example_images[0].read_bytes())


def page_address(service: Service) -> str:
    (page,) = service.processes(PAGE)
    return f"http://localhost:{page.cmdline()[-1]}/"


def predicts(service: Service, photograph: str, **fields) -> bool:
    return service.predict({"image": photograph} | fields, timeout=20, headers=BRIEFLY).status_code == 200


def have_ended(processes: list[psutil.Process], seconds: float = 10) -> bool:
    """Whether all have ended, or are orphans that nobody has waited for."""
    deadline = time.monotonic() + seconds
    while any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def refuses_connections(service: Service) -> bool:
    """Whether connections are refused."""
    at = urlsplit(service.url)
    try:
        socket.create_connection((at.hostname, at.port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


# Tests of one service, in this order: the last one stops it.


def test_a_worker_killed_in_mid_request_is_503_and_the_other_pool_goes_on(app: Service, photograph: str, endless: str):
    assert predicts(app, photograph, explain=True)  # it has imported what it needs
    body = {"image": endless, "explain": True, "precision": "Importante"}
    with app.predict(body, headers={"accept": STREAM_TYPE}, stream=True) as response:
        lines = response.iter_lines()
        assert "progress" in json.loads(next(lines))
        app.workers()[EXPLAIN_POOL].kill()
        *_, last = lines
    assert json.loads(last)["success"] is False and "try again" in json.loads(last)["error"]
    assert predicts(app, photograph)
    wait_for(lambda: predicts(app, photograph, explain=True), 60)


def test_a_worker_killed_with_a_classification_is_503_with_retry_after(app: Service, photograph: str):
    worker = app.workers()[POOL]
    worker.suspend()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(app.predict, {"image": photograph})
        time.sleep(0.5)
        worker.kill()
        answer = waiting.result(60)
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
    wait_for(lambda: predicts(app, photograph), 60)


def test_a_killed_page_is_started_again(app: Service):
    address = page_address(app)
    (process,) = app.processes(PAGE)
    process.kill()
    process.wait(10)
    wait_for(lambda: "Streamlit" in requests.get(address, timeout=5).text, 60)
    assert page_address(app) == address


@pytest.mark.parametrize("name", [GATEWAY, SERVER])
def test_what_is_killed_is_started_again(app: Service, photograph: str, name: str):
    (process,) = app.processes(name)
    process.kill()
    process.wait(10)
    wait_for(lambda: predicts(app, photograph) and predicts(app, photograph, explain=True), 90)
    (again,) = app.processes(name)
    assert again.pid != process.pid


def test_logs_rotate(app: Service, photograph: str):
    logs = app.logs
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: app.predict({"image": photograph}), range(60)))
    assert len(list(logs.glob("torchserve.*.log"))) >= 2, "it has rotated"
    for kind in ("torchserve", "access_log", "metrics"):
        files = [f for f in logs.glob(f"{kind}*.log") if "previous" not in f.name]
        assert 1 <= len(files) <= 5
        assert max(f.stat().st_size for f in files) < LOG_BYTES + 5_000, "a line more than the limit"
    at = urlsplit(app.url)
    for _ in range(LOG_BYTES // 50):  # each is worth a line in the gateway's log
        with socket.create_connection((at.hostname, at.port), timeout=10) as client:
            client.sendall(b"nonsense\r\n\r\n")
            client.recv(1000)
    files = list(logs.glob("gateway.log*"))
    assert 2 <= len(files) <= 5 and max(f.stat().st_size for f in files) <= LOG_BYTES


def test_stopping_lets_requests_finish_and_further_signals_change_nothing(app: Service, endless: str, temporary: Path):
    """SIGTERM to the process group, which make passes on once more, and then whatever comes."""
    processes = app.processes()
    assert len(processes) == 6, "what starts them, TorchServe, two workers, the gateway and the page"
    body = {"image": endless, "explain": True, "precision": "Importante", "details": True}
    with ThreadPoolExecutor(1) as pool:
        finishing = pool.submit(app.predict, body, headers={"prefer": "wait=6"})
        time.sleep(1)
        started = time.monotonic()
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            os.killpg(app.process.pid, number)
            time.sleep(0.1)
        wait_for(lambda: refuses_connections(app), 5)
        assert not finishing.done(), "refused while it still worked"
        answer = finishing.result(60)
    assert answer.status_code == 200 and answer.json()["details"]["explanation"]["stopped"] == "deadline"
    assert have_ended(processes, 30)
    assert time.monotonic() - started < 40
    app.process.wait(10)
    assert "stopped" in app.process.stdout.read()
    assert not list(temporary.glob(f"{PREFIX}*"))


# Services of their own.


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [["SIGTERM", "SIGHUP"], ["SIGINT", "SIGINT", "SIGTERM", "SIGHUP"]],
    ids=lambda names: " ".join(names),
)
def test_any_signals_in_any_order_leave_nothing_behind(tmp_path: Path, temporary: Path, names: list[str]):
    """Also when nobody reads what is printed any more."""
    process = subprocess.Popen(
        [sys.executable, "-m", "supervisor", "--logs", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | free_addresses() | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert "starting" in process.stdout.readline()
    process.stdout.close()
    wait_for(lambda: len(psutil.Process(process.pid).children(recursive=True)) >= 2, 30)  # TorchServe and the gateway
    processes = psutil.Process(process.pid).children(recursive=True)
    for name in names:
        process.send_signal(getattr(signal, name))
        time.sleep(0.02)
    assert process.wait(60) == 0
    assert have_ended(processes)
    assert not list(temporary.glob(f"{PREFIX}*"))


def test_a_killed_supervisor_leaves_nothing_behind(tmp_path: Path, temporary: Path, endless: str):
    service = start_service(tmp_path, TMPDIR=str(temporary))
    processes = service.processes()
    assert len(processes) == 4, "TorchServe, two workers and the gateway"
    body = {"image": endless, "explain": True, "precision": "Importante"}
    with service.predict(body, headers={"accept": STREAM_TYPE}, stream=True) as response:
        assert "progress" in json.loads(next(response.iter_lines()))
        service.process.kill()
        service.process.wait()
        service.process.stdout.close()
        assert have_ended(processes, 60)
    assert len(list(temporary.glob(f"{PREFIX}*"))) == 1, "what it could not delete"
    with patch.object(tempfile, "tempdir", str(temporary)), runtime_folder() as folder:
        assert list(temporary.glob(f"{PREFIX}*")) == [folder], "the next server deletes it"


def test_the_gateway_alone_answers_what_it_cannot_finish_in_time(service: Service, photograph: str):
    ports = free_addresses() | {"MLBIO_TORCHSERVE_URL": service.torchserve_url, "MLBIO_STOP_SECONDS": "1"}
    gateway = Service(f"http://127.0.0.1:{ports['MLBIO_PORT']}", "", None, Path())
    process = subprocess.Popen([sys.executable, "-m", "gateway"], cwd=ROOT, env=os.environ | ports)
    wait_for(lambda: predicts(gateway, photograph), 30)
    worker = service.workers()[POOL]
    worker.suspend()
    try:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(gateway.predict, {"image": photograph})
            time.sleep(0.5)
            process.terminate()
            assert "stopped" in refused(waiting.result(20), 503)
    finally:
        worker.resume()
    assert process.wait(10) == 0
