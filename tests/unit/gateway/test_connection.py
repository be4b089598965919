"""The gateway at a real socket: hostile requests, clients that leave, and its end."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
import uvicorn

from api.headers import STREAM_TYPE
from gateway.server import make_server
from gateway.settings import Settings
from supervisor.processes import free_port
from tests import hostile_requests
from tests.hostile_requests import Case, exchange, problem
from tests.unit.gateway.engine import BODY, Decoder, Engine


@contextlib.contextmanager
def running(engine: Engine, **settings: float) -> Iterator[uvicorn.Server]:
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
    assert problem(url, Case("a good request", hostile_requests.post(hostile_requests.GOOD), frozenset({200}))) == ""


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
