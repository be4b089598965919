"""What the running service shows to the outside: sockets, keys, ids, logs and metrics."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from api.client import Client
from api.headers import EXPLAIN_POOL, STREAM_TYPE
from api.service_errors import RequestRefused
from gateway.settings import Settings
from tests.conftest import ROOT, encode
from tests.e2e.conftest import Gateway, Service, wait_for

KEY = "a-key-of-the-tests-0123456789"
EXPLAIN = {"explain": True, "precision": "Faible"}


@pytest.fixture(scope="module")
def photograph(example_images: list[Path]) -> str:
    return encode(example_images[0].read_bytes())


COUNTERS = ("inference_requests_total", "inference_latency_microseconds", "queue_latency_microseconds")
"""TorchServe's own, which Grafana's dashboard shows."""


@pytest.fixture(scope="module")
def locked(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that wants a key, in front of the shared TorchServe."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"# of the tests\ntests:{KEY}\n")
    with Gateway(Settings(torchserve_url=service.torchserve_url, api_keys_file=str(keys))) as gateway:
        yield gateway


def listening(processes: list[psutil.Process]) -> set[tuple[str, int]]:
    """Where the processes accept TCP connections."""
    return {
        (connection.laddr.ip, connection.laddr.port)
        for process in processes
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }


def is_loopback(address: str) -> bool:
    ip = ipaddress.ip_address(address)
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback


def test_everything_listens_on_loopback_alone(service: Service):
    sockets = listening(service.processes())
    assert all(is_loopback(address) for address, _ in sockets), sockets
    first = urlsplit(service.torchserve_url).port
    ports = {port for _, port in sockets}
    # The gateway; inference, management and metrics; both of gRPC.
    assert {urlsplit(service.url).port, first, first + 1, first + 2} < ports and len(ports) == 6, ports


def test_the_gateway_listens_elsewhere_only_if_told(service: Service):
    with Gateway(Settings(torchserve_url=service.torchserve_url, host="0.0.0.0")) as gateway:
        assert ("0.0.0.0", gateway.settings.port) in listening([psutil.Process()])


def test_torchserve_takes_models_from_the_one_folder(service: Service):
    log = (service.logs / "torchserve.log").read_text()
    (allowed,) = re.findall(r"Allowed Urls: \[(.*)\]", log)
    store = (ROOT / "model_store").resolve()
    assert re.fullmatch(allowed, f"file://{store}/mlbio.mar")
    for elsewhere in (
        "file:///etc/x.mar",
        "file:///other/model_store/x.mar",
        f"file://{store}/../x.mar",
        f"file://{store}.evil/x.mar",
        "http://x/y.mar",
    ):
        assert not re.fullmatch(allowed, elsewhere), elsewhere


def test_client_and_command_line_send_a_key(locked: Gateway, example_images: list[Path], monkeypatch):
    monkeypatch.delenv("MLBIO_API_KEY", raising=False)
    with Client(locked.url) as client, pytest.raises(RequestRefused, match="MLBIO_API_KEY"):
        client.predict(example_images[0])
    with Client(locked.url, key=KEY) as client:
        assert client.predict(example_images[0]).probability > 0
    finished = subprocess.run(
        [sys.executable, "cli/client.py", str(example_images[0])],
        cwd=ROOT,
        env=os.environ | {"MLBIO_URL": locked.url, "MLBIO_API_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert finished.returncode == 0, finished.stderr


def lines(log: Path, request_id: str) -> list[dict]:
    """The JSON lines about a request."""
    found = [line for line in log.read_text().splitlines() if request_id in line]
    return [json.loads(line[line.index("{") :]) for line in found]


def test_a_request_id_travels_to_the_handler_and_back(service: Service, photograph: str):
    wanted = f"test-{uuid.uuid4().hex}"
    response = service.predict({"image": photograph} | EXPLAIN, headers={"X-Request-ID": wanted, "prefer": "wait=5"})
    assert response.headers["x-request-id"] == wanted
    gateway_log, server_log = service.logs / "gateway.log", service.logs / "torchserve.log"
    wait_for(lambda: lines(gateway_log, wanted) and lines(server_log, wanted), 10)
    (access,) = lines(gateway_log, wanted)
    assert access["id"] == wanted and (access["method"], access["path"], access["status"]) == ("POST", "/predict", 200)
    assert access["pool"] == EXPLAIN_POOL and access["outcome"] == "answered"
    assert access["bytes"] > 1000 and 0 < access["seconds"] < 200
    assert access["samples"] >= 32
    (answered,) = lines(server_log, wanted)
    assert answered["id"] == wanted and answered["status"] == 200
    for wrong in ("x" * 65, "a b", "ä"):
        made = service.predict({"image": photograph}, headers={"X-Request-ID": wrong.encode()}).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", made)


def test_no_log_has_a_photograph(service: Service, photograph: str):
    good, bad = (f"test-{uuid.uuid4().hex}" for _ in range(2))
    service.predict({"image": photograph}, headers={"X-Request-ID": good})
    service.predict({"image": photograph[:-8] + "########"}, headers={"X-Request-ID": bad})
    for name, id in (("gateway.log", good), ("gateway.log", bad), ("torchserve.log", good)):
        wait_for(lambda name=name, id=id: lines(service.logs / name, id), 10)
    logs = [log for log in service.logs.glob("*") if log.is_file()]
    assert {"gateway.log", "torchserve.log", "access_log.log"} <= {log.name for log in logs}
    for log in logs:
        text = log.read_text(errors="replace")
        assert photograph[100:160] not in text and "JFIF" not in text, log.name


def metrics(service: Service) -> dict[tuple, float]:
    """Samples by name and labels."""
    response = requests.get(f"{service.url}/metrics", timeout=10)
    assert response.status_code == 200 and response.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(re.sub(r"(?m)^#.*\n", "", response.text))
        for sample in family.samples
    }


@pytest.mark.parametrize("accept", ["application/json", STREAM_TYPE])
def test_explanations_are_counted_with_what_they_took(service: Service, photograph: str, accept: str):
    before = metrics(service)
    response = service.predict(
        {"image": photograph, "details": True} | EXPLAIN, headers={"accept": accept, "prefer": "wait=5"}
    )
    figures = json.loads(response.text.splitlines()[-1])["details"]["explanation"]
    after = metrics(service)

    def more(*name: object) -> float:
        return after[name] - before.get(name, 0.0)

    assert more("mlbio_explanation_samples_sum") == figures["samples"]
    assert more("mlbio_explanation_seconds_sum") == pytest.approx(figures["seconds"], abs=0.002)
    assert more("mlbio_predict_seconds_count", ("outcome", "answered"), ("pool", EXPLAIN_POOL)) == 1
    assert after["mlbio_queue_requests", ("pool", EXPLAIN_POOL)] == 0
    for name in COUNTERS:
        assert more(f"ts_{name}", ("model_name", EXPLAIN_POOL), ("model_version", "default")) > 0
