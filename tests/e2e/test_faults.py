"""What goes wrong behind the gateway, done for real: TorchServe's documented bare start, full, slow, killed, gone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
import requests

from gateway.settings import Settings
from supervisor.components import java_home
from supervisor.processes import free_port
from tests.conftest import ROOT, encode
from tests.e2e.conftest import Gateway, bare_environment, free_addresses, free_ports_in_a_row, wait_for
from tests.e2e.test_gateway import refused


@dataclass
class Bare:
    """`torchserve --start --models mlbio.mar`, as the documentation says: one pool, no gateway of its own."""

    settings: Settings
    started: int
    """Process id of TorchServe's Java."""

    def workers(self) -> list[psutil.Process]:
        children = psutil.Process(self.started).children(recursive=True)
        return [c for c in children if any("model_service_worker" in a for a in c.cmdline())]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    folder = tmp_path_factory.mktemp("bare")
    # The shipped configuration, but for a queue short enough to be filled.
    config = (ROOT / "config.properties").read_text()
    for shipped, short in (
        ("job_queue_size=100", "job_queue_size=2"),
        ('"batchSize": 8', '"batchSize": 1'),
        ("model_store=model_store", f"model_store={ROOT / 'model_store'}"),
    ):
        assert shipped in config
        config = config.replace(shipped, short)
    (folder / "config.properties").write_text(config)
    settings = Settings(torchserve_url=f"http://127.0.0.1:{free_ports_in_a_row(3)}")
    environment = os.environ | {
        "TS_CONFIG_FILE": "config.properties",
        "JAVA_HOME": java_home(),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        **bare_environment(folder, settings),
    }
    torchserve = shutil.which("torchserve", path=environment["PATH"])
    with (folder / "log").open("w") as log:
        subprocess.run(
            [torchserve, "--start", "--models", "mlbio.mar"],
            cwd=folder, env=environment, stdout=log, stderr=log, timeout=60, check=True,
        )  # fmt: skip
    pid = int((folder / "tmp/.model_server.pid").read_text())
    try:
        probe = f"{settings.torchserve_url}/predictions/mlbio"
        picture = sorted((ROOT / "examples").glob("drawn_*.jpg"))[0].read_bytes()
        wait_for(lambda: requests.post(probe, data=picture, timeout=60).status_code == 200, 200)
        yield Bare(settings, pid)
    finally:
        workers = psutil.Process(pid).children(recursive=True) if psutil.pid_exists(pid) else []
        subprocess.run([torchserve, "--stop"], env=environment, timeout=60, check=False)
        gone, alive = psutil.wait_procs(workers, timeout=30)
        for process in alive:
            process.kill()


@pytest.fixture
def photograph(example_images: list[Path]) -> str:
    return encode(example_images[0].read_bytes())


def test_one_pool_explains_as_well(bare: Bare, photograph: str):
    with Gateway(bare.settings) as gateway:
        answer = gateway.predict(image=photograph, explain=True, precision="Faible").json()
    assert len(answer["explain"]) == 224


def test_full_is_503_with_retry_after_and_loses_nothing(bare: Bare, photograph: str):
    with Gateway(bare.settings) as gateway, ThreadPoolExecutor(8) as pool:
        (worker,) = bare.workers()
        worker.suspend()
        try:
            waiting = [pool.submit(gateway.predict, image=photograph) for _ in range(8)]
            wait_for(lambda: sum(future.done() for future in waiting) >= 4, 60)
        finally:
            worker.resume()
        answers = [future.result(60) for future in waiting]
    # TorchServe's queue holds two, and a job or two are on their way to the worker.
    assert 2 <= [a.status_code for a in answers].count(200) <= 4
    for answer in answers:
        if answer.status_code != 200:
            refused(answer, 503)
            assert int(answer.headers["retry-after"]) > 0


def test_killed_worker_is_503_and_comes_back(bare: Bare, photograph: str, endless: str):
    with Gateway(bare.settings) as gateway, ThreadPoolExecutor(1) as pool:
        wait_for(lambda: gateway.predict(image=photograph).status_code == 200, 120)
        assert requests.get(f"{gateway.url}/readyz", timeout=30).status_code == 200
        working = pool.submit(gateway.predict, image=endless, explain=True, precision="Importante")
        (worker,) = bare.workers()
        wait_for(lambda: worker.cpu_percent(0.2) > 20, 30)  # it has the job
        worker.kill()
        answer = working.result(60)
        refused(answer, 503)
        assert int(answer.headers["retry-after"]) > 0
        wait_for(lambda: gateway.predict(image=photograph).status_code == 200, 120)
        wait_for(lambda: requests.get(f"{gateway.url}/readyz", timeout=30).status_code == 200, 30)


def test_stopped_worker_is_not_ready_and_out_of_time(bare: Bare, photograph: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.backend.PROBE_SECONDS", 1.0)
    with Gateway(replace(bare.settings, predict_seconds=1)) as gateway:
        wait_for(lambda: gateway.predict(image=photograph).status_code == 200, 120)
        (worker,) = bare.workers()
        worker.suspend()
        try:
            time.sleep(1.1)  # a readiness answer is kept for a second
            refused(requests.get(f"{gateway.url}/readyz", timeout=30), 503)
            refused(gateway.predict(image=photograph), 504)
            assert requests.get(f"{gateway.url}/healthz", timeout=10).status_code == 200
        finally:
            worker.resume()
        wait_for(lambda: gateway.predict(image=photograph).status_code == 200, 60)


def test_foreign_answers_are_translated(bare: Bare, photograph: str):
    # The management API answers predictions with a JSON of its own.
    host, port = bare.settings.torchserve_url.rsplit(":", 1)
    with Gateway(replace(bare.settings, torchserve_url=f"{host}:{int(port) + 1}")) as gateway:
        foreign = requests.post(f"{host}:{int(port) + 1}/predictions/mlbio", timeout=10)
        assert "success" not in foreign.text
        answer = gateway.predict(image=photograph, explain=True)
        assert answer.status_code in (404, 502)
        refused(answer, answer.status_code)


def test_serve_without_an_archive_says_what_to_do(tmp_path: Path):
    finished = subprocess.run(
        [sys.executable, "-m", "supervisor", "--model-store", str(tmp_path), "--logs", str(tmp_path)],
        cwd=ROOT, env=os.environ | {"MLBIO_PORT": str(free_port())}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert finished.returncode == 1
    assert "make archive" in finished.stderr and "Traceback" not in finished.stderr


def test_a_model_that_cannot_be_loaded_is_said_soon(tmp_path: Path):
    broken = tmp_path / "mlbio.mar"
    with zipfile.ZipFile(ROOT / "model_store/mlbio.mar") as whole, zipfile.ZipFile(broken, "w") as part:
        for name in whole.namelist():
            part.writestr(name, b"no weights" if name.endswith(".pth") else whole.read(name))
    finished = subprocess.run(
        [sys.executable, "-m", "supervisor", "--model-store", str(tmp_path), "--logs", str(tmp_path / "logs")],
        cwd=ROOT,
        env=os.environ | free_addresses(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 1
    assert "made from another checkpoint" in finished.stderr and "Traceback" not in finished.stderr


def test_an_interrupt_before_a_command_has_run_leaves_nothing_behind(tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-m", "supervisor", "--logs", str(tmp_path), "--run", "true"],
        cwd=ROOT,
        env=os.environ | free_addresses(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert "starting" in process.stdout.readline()
    wait_for(lambda: len(psutil.Process(process.pid).children(recursive=True)) >= 2, 30)  # TorchServe and the gateway
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    process.stdout.close()
    gone, alive = psutil.wait_procs(family, timeout=5)
    assert not alive


def test_something_else_on_the_port_is_an_error_and_not_a_traceback(tmp_path: Path):
    class Other(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>another program</html>")

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        finished = subprocess.run(
            [sys.executable, "-m", "supervisor", "--logs", str(tmp_path), "--run", "true"],
            cwd=ROOT, env=os.environ | free_addresses() | {"MLBIO_PORT": str(other.server_port)},
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        other.shutdown()
    assert finished.returncode == 1 and "Traceback" not in finished.stderr
    assert f"127.0.0.1:{other.server_port} cannot be used" in finished.stderr and "MLBIO_PORT" in finished.stderr
