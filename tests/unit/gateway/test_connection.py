"""HTTP that cannot be parsed, at a real socket."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPResponse

import pytest
import uvicorn

from gateway.app import create_app
from gateway.connection import Connection
from gateway.settings import Settings
from supervisor.processes import free_port
from tests.unit.gateway.engine import Engine


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    number = free_port()
    config = uvicorn.Config(
        create_app(Settings(), Engine()), port=number, http=Connection, ws="none", log_level="critical"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield number
    server.should_exit = True
    thread.join(10)


def answer(port: int, request: bytes) -> HTTPResponse:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(request)
    response = HTTPResponse(connection)
    response.begin()
    return response


@pytest.mark.parametrize(
    "request_bytes, status, text",
    [
        (b"hello\r\n\r\n", 400, "not valid HTTP"),
        (b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", 400, "not valid HTTP"),
        (
            b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 600_000 + b"\r\n\r\n",
            431,
            "headers of the request are too long",
        ),
        (b"GET / HTTP/1.1\r\nhost: x\r\n" + b"x: a\r\n" * 1_000_000, 431, "headers of the request are too long"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: zip\r\n\r\n", 501, "transfer encoding"),
        (b"POST /predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400, "not valid HTTP"),
    ],
    ids=["text", "length", "long header", "6 MB of headers", "encoding", "chunk"],
)
def test_it_is_refused_in_the_documented_form(port: int, request_bytes: bytes, status: int, text: str):
    response = answer(port, request_bytes)
    assert response.status == status and response.headers["content-type"] == "application/json"
    failure = json.loads(response.read())
    assert list(failure) == ["success", "error"] and failure["success"] is False and text in failure["error"]


def test_a_valid_request_is_answered_as_ever(port: int):
    assert json.loads(answer(port, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").read()) == {"status": "alive"}


def test_junk_behind_a_request_does_not_spoil_its_answer(port: int):
    request = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    assert json.loads(answer(port, request + b"junk\r\n\r\n").read()) == {"status": "alive"}


def test_an_upgrade_is_ignored(port: int):
    headers = b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: eHg=\r\n"
    assert answer(port, b"GET /predict HTTP/1.1\r\nhost: x\r\n" + headers + b"\r\n").status == 405
