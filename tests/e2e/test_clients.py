"""Clients that are too many, too slow or gone: a real gateway with short limits, in front of the shared TorchServe."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from api.headers import EXPLAIN_POOL, POOL, STREAM_TYPE
from gateway import admission, connection
from gateway.settings import Settings
from tests.conftest import encode
from tests.e2e.conftest import Gateway, Service, wait_for
from tests.e2e.test_gateway import refused

AT_ONCE = 8.0
"""Seconds; a suspended worker never answers."""


@pytest.fixture(scope="module")
def photograph(example_images: list[Path]) -> str:
    return encode(example_images[0].read_bytes())


@pytest.fixture
def gateway(service: Service) -> Iterator[Callable[..., Gateway]]:
    """Starts a gateway with settings of its own."""
    with contextlib.ExitStack() as stack:
        settings = Settings(torchserve_url=service.torchserve_url)
        yield lambda **changed: stack.enter_context(Gateway(replace(settings, **changed)))


@pytest.fixture
def busy(service: Service) -> Iterator[psutil.Process]:
    """The worker for classifications, suspended: whatever is asked waits."""
    worker = service.workers()[POOL]
    worker.suspend()
    yield worker
    worker.resume()


def connected(gateway: Gateway, **options) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.settings.port), timeout=10, **options)


def closed_after(client: socket.socket, drip: bytes = b"") -> float:
    """Seconds until the other side closes, while ``drip`` is sent again and again."""
    started = time.monotonic()
    client.settimeout(0.1)
    while time.monotonic() - started < 10:
        try:
            if drip:
                client.sendall(drip)
            if client.recv(1000) == b"":
                break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    return time.monotonic() - started


def nothing_left(gateway: Gateway) -> bool:
    """Whether every slot and every byte is free again."""
    limiters = (gateway.endpoint.bodies, *gateway.endpoint.limiters.values())
    return all(limiter.used_slots == limiter.used_bytes == 0 for limiter in limiters)


# Too many


@pytest.mark.parametrize("explain", [False, True], ids=["classifications", "explanations"])
def test_one_too_many_is_refused_at_once(service: Service, gateway, photograph: str, explain: bool):
    made = gateway(predict_queue=2, explain_queue=2)
    workers = service.workers().values()
    fields = {"image": photograph, "explain": explain, "precision": "Faible"}
    with ThreadPoolExecutor(5) as pool:
        for worker in workers:
            worker.suspend()
        try:
            asked = [pool.submit(made.predict, headers={"prefer": "wait=5"}, **fields) for _ in range(5)]
            wait_for(lambda: sum(a.done() for a in asked) == 3, AT_ONCE)
        finally:
            for worker in workers:
                worker.resume()
        answers = [a.result(100) for a in asked]
    assert sorted(a.status_code for a in answers) == [200, 200, 503, 503, 503]
    for answer in answers:
        if answer.status_code == 503:
            assert "too many" in refused(answer, 503) and int(answer.headers["retry-after"]) > 0
    assert made.predict(image=photograph).status_code == 200
    assert nothing_left(made)


def test_photographs_that_would_take_too_much_memory_are_refused(gateway, photograph: str, busy: psutil.Process):
    made = gateway(queue_bytes=int(1.2 * len(photograph)))  # one, and not the bytes of two
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(made.predict, image=photograph)
        wait_for(lambda: made.endpoint.limiters[POOL].used_slots == 1, 5)
        assert "too many classifications" in refused(made.predict(image=photograph), 503)
        with connected(made) as other:  # refused once what has arrived exceeds the limit on bytes
            head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 30000000\r\n\r\n"
            other.sendall(head + bytes(2 * len(photograph)))
            assert other.recv(1000).startswith(b"HTTP/1.1 503")
        busy.resume()
        assert first.result(60).status_code == 200
    assert nothing_left(made)


def test_connections_are_bounded(gateway, monkeypatch: pytest.MonkeyPatch):
    made = gateway()
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 3)
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(connected(made))
        wait_for(lambda: len(made.server.server_state.connections) == 3, 5)
        answer = requests.get(f"{made.url}/healthz", timeout=10)
        assert "connections" in refused(answer, 503) and answer.headers["retry-after"]
    wait_for(lambda: requests.get(f"{made.url}/healthz", timeout=10).ok, 5)


def test_two_hundred_clients_at_once_are_all_answered(service: Service, photograph: str):
    def ask(_: int) -> int:
        answer = service.predict({"image": photograph}, headers={"prefer": "wait=60"}, timeout=90)
        if answer.status_code == 503:
            assert int(answer.headers["retry-after"]) > 0 and answer.json()["success"] is False
        return answer.status_code

    with ThreadPoolExecutor(200) as pool:
        statuses = list(pool.map(ask, range(200)))
    assert set(statuses) <= {200, 503} and statuses.count(200) >= Settings().predict_queue
    assert service.predict({"image": photograph}).status_code == 200


# Too slow


def test_headers_that_drip_are_cut_off(gateway, photograph: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "HEAD_SECONDS", 1.0)
    made = gateway()
    with connected(made) as silent, connected(made) as dripping:
        dripping.sendall(b"POST /predict HTTP/1.1\r\n")
        assert 0.5 < closed_after(dripping, b"x: y\r\n") < 3
        assert closed_after(silent) < 3
    with requests.Session() as session:  # a connection that is used again is not cut off, nor one that waits
        for explain in (False, True, False):
            fields = {"image": photograph, "explain": explain, "precision": "Importante"}
            answer = session.post(f"{made.url}/predict", json=fields, headers={"prefer": "wait=2"}, timeout=60)
            assert answer.status_code == 200
            time.sleep(0.4)
    wait_for(lambda: not made.server.server_state.connections, 5)


def test_a_body_that_drips_is_408(gateway, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(admission, "BODY_SECONDS", 1.0)
    made = gateway()
    head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n"
    with connected(made) as silent, connected(made) as dripping:
        silent.sendall(head)
        dripping.sendall(head)
        started = time.monotonic()
        dripping.settimeout(0.1)
        answer = b""
        while b"}" not in answer and time.monotonic() - started < 10:
            with contextlib.suppress(TimeoutError):
                dripping.sendall(b" ")
                answer += dripping.recv(1000)
        assert answer.startswith(b"HTTP/1.1 408") and b"connection: close" in answer
        assert "too slowly" in json.loads(answer.rpartition(b"\r\n")[2])["error"]
        assert silent.recv(1000).startswith(b"HTTP/1.1 408")
        assert time.monotonic() - started < 3
    wait_for(lambda: nothing_left(made) and not made.server.server_state.connections, 5)


def test_a_reader_that_stalls_is_cut_off_and_keeps_no_slot(gateway, endless: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "STALL_SECONDS", 2.0)
    made = gateway()
    for listener in made.server.servers[0].sockets:  # so that the system cannot take the whole answer
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    request = json.dumps({"image": endless, "explain": True, "precision": "Faible"}).encode()
    with socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.connect(("127.0.0.1", made.settings.port))
        head = f"POST /predict HTTP/1.1\r\nhost: x\r\naccept: {STREAM_TYPE}\r\nprefer: wait=1\r\n"
        stalled.sendall(f"{head}content-length: {len(request)}\r\n\r\n".encode() + request)
        wait_for(lambda: made.endpoint.limiters[EXPLAIN_POOL].used_slots == 1, 5)
        wait_for(lambda: nothing_left(made), 60)
        assert made.server.server_state.connections, "the slot is free while the answer waits to be read"
        wait_for(lambda: not made.server.server_state.connections, 5)


# Gone


@pytest.mark.parametrize("explain", [False, True], ids=["a classification", "an explanation"])
def test_a_client_that_leaves_frees_its_slot(gateway, endless: str, busy: psutil.Process, explain: bool):
    made = gateway(predict_queue=1, explain_queue=1)
    body = {"image": endless, "explain": explain, "precision": "Importante"}
    limiter = made.endpoint.limiters[EXPLAIN_POOL if explain else POOL]
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(requests.post, f"{made.url}/predict", json=body, timeout=3)
        wait_for(lambda: limiter.used_slots == 1, 2.5)
        with pytest.raises(requests.Timeout):
            asked.result(30)
    wait_for(lambda: nothing_left(made), AT_ONCE)


def test_what_is_out_of_time_is_not_computed_when_the_worker_gets_to_it(
    service: Service, gateway, photograph: str, busy: psutil.Process
):
    log = service.logs / "access_log.log"

    def dropped() -> int:
        return log.read_text().count('"POST /predictions/mlbio HTTP/1.1" 503')

    before = dropped()
    refused(gateway(predict_seconds=0.5).predict(image=photograph), 504)
    busy.resume()
    wait_for(lambda: dropped() == before + 1, 30)


# The machine


def test_a_clock_that_is_put_back_changes_nothing(gateway, photograph: str, monkeypatch: pytest.MonkeyPatch):
    """A day back for the gateway alone: instants of the wall clock would tell the handler to hurry."""
    made = gateway()
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 86_400)
    assert made.predict(image=photograph).status_code == 200
    answer = made.predict(image=photograph, explain=True, precision="Faible", details=True)
    assert answer.json()["details"]["explanation"]["stopped"] != "deadline"


def test_a_full_disk_stops_the_logs_and_nothing_else(service: Service, photograph: str):
    """Every process of the service gets an error for each write to a file, as from a full disk."""
    family = service.processes()
    log = service.logs / "torchserve.log"
    before = {process: process.rlimit(resource.RLIMIT_FSIZE) for process in family}
    try:
        for process, (_, hard) in before.items():
            process.rlimit(resource.RLIMIT_FSIZE, (0, hard))
        size = log.stat().st_size
        for _ in range(3):
            assert service.predict({"image": photograph}).status_code == 200
        body = {"image": photograph, "explain": True, "precision": "Faible"}
        assert service.predict(body, headers={"prefer": "wait=2"}).status_code == 200
        at = urlsplit(service.url)
        with socket.create_connection((at.hostname, at.port), timeout=10) as rude:  # worth a line in the gateway's log
            rude.sendall(b"nonsense\r\n\r\n")
            assert rude.recv(1000).startswith(b"HTTP/1.1 400")
        assert log.stat().st_size == size, "nothing could be written"
    finally:
        for process, limits in before.items():
            process.rlimit(resource.RLIMIT_FSIZE, limits)
    assert service.predict({"image": photograph}).status_code == 200
    wait_for(lambda: log.stat().st_size > size, 10)
