"""The gateway at a real socket: hostile requests, clients that leave, and its end."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
import uvicorn
from msgspec.structs import replace

from api.answer import succeed
from api.headers import STREAM_TYPE
from gateway import admission, connection
from gateway.server import make_server
from gateway.settings import MAX_BODY, Settings
from supervisor.processes import free_port
from tests import hostile_requests
from tests.answers import EXPLAINED
from tests.hostile_requests import Case, exchange, head, post, problem
from tests.unit.gateway.engine import BODY, Decoder, Engine


@contextlib.contextmanager
def running(engine: Engine, **settings: object) -> Iterator[uvicorn.Server]:
    server = make_server(Settings(port=free_port(), **settings), lambda settings: engine)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    yield server
    server.should_exit = True
    thread.join(10)


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def url_of(server: uvicorn.Server) -> str:
    return f"http://127.0.0.1:{server.config.port}"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(Decoder()) as server:
        yield url_of(server)


@pytest.mark.parametrize("group", hostile_requests.GROUPS)
def test_every_hostile_request_gets_a_fitting_answer(url: str, group: str):
    cases = list(hostile_requests.GROUPS[group]())
    problems = {case.name: problem(url, case) for case in cases}
    assert not {name: text for name, text in problems.items() if text}
    assert problem(url, Case("a good request", post(hostile_requests.GOOD), frozenset({200}))) == ""


@pytest.mark.parametrize(
    ("request_bytes", "status", "text"),
    [
        (b"hello\r\n\r\n", 400, "not valid HTTP"),
        (b"GET / HTTP/1.1\r\nhost: x\r\n" + b"x: a\r\n" * 1_000_000, 431, "headers of the request are too long"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: zip\r\n\r\n", 501, "transfer encoding"),
    ],
    ids=["text", "6 MB of headers", "encoding"],
)
def test_a_refusal_says_what_is_wrong(url: str, request_bytes: bytes, status: int, text: str):
    got, _, body = exchange(url, request_bytes)
    assert got == status and text in body.decode()


def test_bytes_behind_a_request_do_not_change_its_answer(url: str):
    request = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    assert exchange(url, request + b"junk\r\n\r\n")[2] == b'{"status":"alive"}'


def test_the_sender_of_a_large_request_without_a_key_gets_the_refusal(tmp_path: Path):
    (tmp_path / "keys").write_text("one:a-key-of-the-tests-0123456789\n")
    with running(Engine(), api_keys_file=str(tmp_path / "keys")) as server:
        assert requests.post(f"{url_of(server)}/predict", data=b" " * 2**23, timeout=30).status_code == 401


@pytest.mark.parametrize("explain", [False, True], ids=["while it waits", "while it streams"])
def test_a_client_that_leaves_cancels_its_request(explain: bool):
    engine = Engine()
    engine.answers.clear()
    with running(engine) as server:
        body = BODY | {"explain": explain}
        headers = {"accept": STREAM_TYPE}
        with requests.Session() as session, pytest.raises(requests.RequestException):
            response = session.post(f"{url_of(server)}/predict", json=body, headers=headers, stream=True, timeout=1)
            assert next(response.iter_lines()) == b'{"progress": 0.5}'
            raise requests.RequestException
        wait_for(lambda: engine.cancelled)
        predict = server.config.app.state.predict
        wait_for(lambda: not any(limiter.used_slots for limiter in predict.limiters.values()))


@pytest.mark.parametrize("explain", [False, True], ids=["while it waits", "while it streams"])
def test_a_request_that_has_not_finished_when_the_gateway_stops_gets_an_answer(explain: bool):
    engine = Engine()
    engine.answers.clear()
    with running(engine, stop_seconds=0.3) as server, ThreadPoolExecutor(1) as pool:
        body, headers = BODY | {"explain": explain}, {"accept": STREAM_TYPE}
        asked = pool.submit(requests.post, f"{url_of(server)}/predict", json=body, headers=headers, timeout=10)
        wait_for(lambda: engine.asked)
        server.should_exit = True
        last = asked.result(10).content.splitlines()[-1]
    assert b"the service is being stopped" in last and engine.cancelled


def seconds_until_closed(client: socket.socket, drip: bytes = b"") -> float:
    started = time.monotonic()
    client.settimeout(0.1)
    while time.monotonic() - started < 10:
        with contextlib.suppress(TimeoutError):
            try:
                client.sendall(drip)
                if not client.recv(1000):
                    break
            except ConnectionError:
                break
    return time.monotonic() - started


def test_a_connection_without_a_complete_request_is_closed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "HEAD_SECONDS", 1.0)
    with running(Engine()) as server, requests.Session() as session:
        address = ("127.0.0.1", server.config.port)
        with socket.create_connection(address) as silent, socket.create_connection(address) as dripping:
            dripping.sendall(b"POST /predict HTTP/1.1\r\n")
            assert 0.5 < seconds_until_closed(dripping, b"x: y\r\n") < 3
            assert seconds_until_closed(silent) < 3
        for _ in range(6):  # one that is used again and again is not closed
            assert session.get(f"{url_of(server)}/healthz", timeout=5).ok
            assert len(server.server_state.connections) == 1
            time.sleep(0.4)
        wait_for(lambda: not server.server_state.connections)


def test_a_connection_whose_client_does_not_read_is_closed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "STALL_SECONDS", 1.0)
    long = succeed(replace(EXPLAINED, explain=[[[1, 2, 3]] * 224] * 224))
    with running(Engine(long)) as server, socket.socket() as stalled:
        for listener in server.servers[0].sockets:  # so that the system cannot take the whole answer
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.connect(("127.0.0.1", server.config.port))
        stalled.sendall(post(json.dumps(BODY | {"explain": True}).encode()))
        wait_for(lambda: server.server_state.connections)
        wait_for(lambda: not server.server_state.connections)


ANNOUNCES = head(
    "POST /predict HTTP/1.1", "host: test", f"content-length: {MAX_BODY}", "content-type: application/json"
)


@contextlib.contextmanager
def silent_clients(server: uvicorn.Server, number: int, sent: bytes = ANNOUNCES) -> Iterator[list[socket.socket]]:
    """Connections that send ``sent`` and then nothing."""
    with contextlib.ExitStack() as stack:
        address = ("127.0.0.1", server.config.port)
        clients = [stack.enter_context(socket.create_connection(address)) for _ in range(number)]
        for client in clients:
            client.sendall(sent)
        wait_for(lambda: len(server.server_state.connections) >= number)
        yield clients


@pytest.mark.parametrize("number", [8, 100])
def test_clients_that_announce_32_mib_and_send_nothing_keep_nobody_out(number: int):
    with running(Engine()) as server, silent_clients(server, number):
        wait_for(lambda: server.config.app.state.predict.bodies.used_slots == number)
        for _ in range(5):
            assert requests.post(f"{url_of(server)}/predict", json=BODY, timeout=20).status_code == 200
            assert requests.get(f"{url_of(server)}/readyz", timeout=20).status_code == 200


def test_the_service_is_not_ready_while_bodies_hold_all_memory():
    with running(Engine(), queue_bytes=2**20) as server:
        with silent_clients(server, 1, ANNOUNCES + bytes(2**20 - 2**16)):
            wait_for(lambda: server.config.app.state.predict.bodies.full)
            refused = requests.post(f"{url_of(server)}/predict", json=BODY, timeout=20)
            assert refused.status_code == 503 and int(refused.headers["retry-after"]) > 0
            assert requests.get(f"{url_of(server)}/readyz", timeout=20).status_code == 503
        wait_for(lambda: requests.get(f"{url_of(server)}/readyz", timeout=20).ok)
        assert requests.post(f"{url_of(server)}/predict", json=BODY, timeout=20).ok


def test_a_client_that_pauses_in_its_body_gives_its_memory_back(monkeypatch: pytest.MonkeyPatch):
    """However much it has sent before."""
    monkeypatch.setattr(admission, "BODY_SECONDS", 1.0)
    sent = ANNOUNCES + bytes(2**22)  # at the lowest rate, this takes two minutes
    with running(Engine()) as server, silent_clients(server, 1, sent) as (client,):
        bodies = server.config.app.state.predict.bodies
        wait_for(lambda: bodies.used_bytes >= 2**22)
        client.settimeout(10)
        assert client.recv(100).startswith(b"HTTP/1.1 408")
        assert bodies.used_bytes == 0


@pytest.mark.parametrize("trusted", [True, False], ids=["proxy", "client"])
def test_one_address_cannot_use_up_what_all_share(monkeypatch: pytest.MonkeyPatch, trusted: bool):
    """Behind a proxy, requests are counted by the address that it forwards; a client's own header is not believed."""
    if not trusted:
        monkeypatch.setattr(Settings, "proxies", [])
    engine = Engine()
    engine.answers.clear()
    with (
        running(engine, address_requests=2, cors_origins="https://page.example") as server,
        ThreadPoolExecutor(2) as pool,
    ):

        def ask(address: str) -> requests.Response:
            headers = {"x-forwarded-for": address, "origin": "https://page.example"}
            return requests.post(f"{url_of(server)}/predict", json=BODY, headers=headers, timeout=20)

        waiting = [pool.submit(ask, "192.0.2.1") for _ in range(2)]
        wait_for(lambda: len(engine.asked) == 2)
        refused = ask("192.0.2.1" if trusted else "192.0.2.2")
        assert refused.status_code == 429 and refused.headers["x-mlbio-error"] == "rate_limited"
        assert int(refused.headers["retry-after"]) > 0 and "your address" in refused.json()["error"]
        assert refused.headers["access-control-allow-origin"] == "https://page.example"
        if trusted:
            other = ThreadPoolExecutor(1).submit(ask, "192.0.2.2")
            wait_for(lambda: len(engine.asked) == 3)
            waiting.append(other)
        engine.answers.set()
        assert [each.result(20).status_code for each in waiting] == [200] * len(waiting)
