"""Hostile requests, and HTTP that cannot be parsed, at a real socket of the gateway before an engine that decodes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from gateway.server import make_server
from gateway.settings import Settings
from supervisor.processes import free_port
from tests import hostile_requests
from tests.hostile_requests import Case, exchange, problem
from tests.unit.gateway.engine import Decoder


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    settings = Settings(port=free_port())
    server = make_server(settings, lambda settings: Decoder())
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield settings.url
    server.should_exit = True
    thread.join(10)


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
