"""The Python client against servers on loopback that answer as scripted."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import api.client
from api.client import Client, service_url
from api.errors import ErrorCode
from api.service_errors import (
    AnswerInterrupted,
    RequestRefused,
    ServiceError,
    ServiceTimeout,
    ServiceUnreachable,
    UnexpectedAnswer,
    WrongAddress,
)
from supervisor.processes import free_port

ANSWER = {"success": True, "prediction": "Melanoma", "probability": 0.75, "explain": None}


class Server:
    """Accepts connections one after another; to each request it sends the parts of ``script``.

    A part is bytes to send, or a function to call, such as a wait. ``requests`` holds what came: head and body.
    """

    def __init__(self, script: list[bytes | Callable[[], object]]) -> None:
        self.script = script
        self.requests: list[tuple[str, bytes]] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:  # closed
                return
            with connection:
                if not self._receive(connection):
                    continue
                for part in self.script:
                    if isinstance(part, bytes):
                        connection.sendall(part)
                    else:
                        part()

    def _receive(self, connection: socket.socket) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            part = connection.recv(65536)
            if not part:
                return False
            data += part
        head, body = data.split(b"\r\n\r\n", 1)
        sized = b"content-length: " in head.lower()
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]) if sized else 0
        while len(body) < length:
            body += connection.recv(65536)
        self.requests.append((head.decode(), body))
        return True


@contextmanager
def serving(*script: bytes | Callable[[], object]) -> Iterator[Server]:
    server = Server(list(script))
    try:
        yield server
    finally:
        server.socket.close()


def response(body: bytes | dict, status: str = "200 OK", headers: str = "", length: int | None = None) -> bytes:
    content = json.dumps(body).encode() if isinstance(body, dict) else body
    length = len(content) if length is None else length
    head = f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n"
    return head.encode() + content


def chunked(*lines: bytes | dict, end: bool = True) -> list[bytes]:
    """A streamed answer, a chunk per line."""
    parts = [b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"]
    for line in lines:
        content = (json.dumps(line).encode() if isinstance(line, dict) else line) + b"\n"
        parts.append(b"%x\r\n%s\r\n" % (len(content), content))
    return [*parts, b"0\r\n\r\n"] if end else parts


def predict(*script: bytes | Callable[[], object], **options) -> object:
    with serving(*script) as server, Client(server.url) as client:
        return client.predict(b"a photograph", **options)


def test_an_answer_is_typed():
    answer = predict(response(ANSWER))
    assert (answer.prediction, answer.probability, answer.explain) == ("Melanoma", 0.75, None)
    assert not answer.details


def test_the_documented_fields_are_sent():
    with serving(response(ANSWER)) as server, Client(server.url + "/") as client:
        client.predict(b"a photograph", explain=True, precision="Faible", details=False)
        head, body = server.requests[0]
    assert head.startswith("POST /predict HTTP/1.1\r\n")
    assert json.loads(body) == {
        "image": base64.b64encode(b"a photograph").decode(),
        "explain": True,
        "precision": "Faible",
        "details": False,
    }


@pytest.mark.parametrize(
    ("given", "environment", "sent"),
    [(None, "", None), (None, " secret\n", "Bearer secret"), ("mine", "secret", "Bearer mine"), ("", "secret", None)],
)
def test_the_key_is_sent(given: str | None, environment: str, sent: str | None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLBIO_API_KEY", environment)
    with serving(response(ANSWER)) as server, Client(server.url, key=given) as client:
        client.predict(b"photograph")
    (head, _) = server.requests[0]
    lines = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:] if ": " in line)
    assert lines.get("authorization") == (sent and sent.lower())


@pytest.mark.parametrize("key", ["two words", "clé", "a\nb"])
def test_a_key_that_cannot_be_sent_is_said(key: str):
    with Client("http://127.0.0.1:1", key=key) as client, pytest.raises(ServiceError, match="MLBIO_API_KEY"):
        client.predict(b"photograph")


def test_a_path_is_read(tmp_path: Path):
    (tmp_path / "photo.jpg").write_bytes(b"of a file")
    with serving(response(ANSWER)) as server, Client(server.url) as client:
        client.predict(tmp_path / "photo.jpg")
        assert json.loads(server.requests[0][1])["image"] == base64.b64encode(b"of a file").decode()


def test_a_file_that_is_missing_raises_as_python_does(tmp_path: Path):
    with pytest.raises(FileNotFoundError), Client() as client:
        client.predict(tmp_path / "missing.jpg")


def test_progress_is_reported_before_the_answer():
    seen: list[float] = []
    answer = predict(*chunked({"progress": 0.25}, {"progress": 1}, ANSWER), explain=True, on_progress=seen.append)
    assert seen == [0.25, 1] and answer.prediction == "Melanoma"


def test_one_client_asks_again_on_a_new_connection():
    with serving(response(ANSWER)) as server, Client(server.url) as client:
        assert client.predict(b"one") == client.predict(b"two")
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("status", "headers", "fields", "code", "busy"),
    [
        ("503 X", "x-mlbio-error: unavailable\r\n", {}, ErrorCode.UNAVAILABLE, True),
        ("400 X", "", {}, ErrorCode.INVALID_REQUEST, False),  # an older service
        ("429 X", "x-mlbio-error: later\r\n", {}, ErrorCode.RATE_LIMITED, True),  # a later one
        ("200 OK", "", {"code": "busy"}, ErrorCode.BUSY, True),  # a stream
        ("200 OK", "", {}, ErrorCode.INTERNAL, False),
    ],
)
def test_a_refusal_has_the_services_words_and_its_code(status: str, headers: str, fields: dict, code: str, busy: bool):
    with pytest.raises(RequestRefused, match="^full$") as caught:
        predict(response({"success": False, "error": "full"} | fields, status, headers))
    assert (caught.value.status, caught.value.code, caught.value.is_busy) == (int(status[:3]), code, busy)


@pytest.mark.parametrize(
    ("header", "seconds"), [("retry-after: 3\r\n", 3.0), ("retry-after: soon\r\n", None), ("", None)]
)
def test_a_refusal_says_when_to_try_again(header: str, seconds: float | None):
    with pytest.raises(RequestRefused) as caught:
        predict(response({"success": False, "error": "full"}, "503 X", header))
    assert caught.value.retry_after == seconds


def test_a_stream_that_fails_has_status_and_delay_in_its_last_line():
    failure = {"success": False, "error": "lost", "code": "unavailable", "status": 503, "retry_after": 5}
    with pytest.raises(RequestRefused, match="^lost$") as caught:
        predict(*chunked({"progress": 0.5}, failure), explain=True)
    assert (caught.value.status, caught.value.retry_after, caught.value.is_busy) == (503, 5.0, True)


def test_a_refusal_without_a_reason_names_the_status():
    with pytest.raises(RequestRefused, match="HTTP 500, no reason given"):
        predict(response({"success": False}, "500 Internal Server Error"))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"<html>It works</html>", "200 OK"),
        (b"", "200 OK"),
        (b'{"detail": "Not Found"}', "404 Not Found"),
        (b'{"success": true, "probability": NaN}', "200 OK"),
        (b"\xff\xfe\x00", "200 OK"),
    ],
)
def test_another_program_on_the_port_is_recognised(body: bytes, status: str):
    with pytest.raises(WrongAddress, match=f"not an MLBIO service .HTTP {status[:3]}.: check MLBIO_URL"):
        predict(response(body, status))


def test_a_redirect_is_not_followed():
    elsewhere = b"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:9/predict\r\nContent-Length: 0\r\n\r\n"
    with pytest.raises(WrongAddress, match="use that address"):
        predict(elsewhere)


@pytest.mark.parametrize(
    "wrong", [{"probability": 1.5}, {"probability": None}, {"prediction": 3}, {"explain": [[[0, 0, 256]]]}]
)
def test_an_answer_of_another_form_is_not_guessed_at(wrong: dict):
    with pytest.raises(UnexpectedAnswer, match="not understood .* update MLBIO"):
        predict(response(ANSWER | wrong))


def test_fields_of_a_later_version_are_ignored():
    assert predict(response(ANSWER | {"later": 1})).prediction == "Melanoma"


@pytest.mark.parametrize(
    "script",
    [
        [response(ANSWER, length=1000)],
        chunked({"progress": 0.5}, end=False),
        [*chunked({"progress": 0.5}), b""],
        chunked({"progress": 0.5}, b'{"success": tr'),
        [b""],
    ],
    ids=["cut short", "no last chunk", "no answer after the progress", "half a line", "no answer at all"],
)
def test_a_connection_that_breaks_is_said(script: list[bytes]):
    with pytest.raises(AnswerInterrupted, match="try again"):
        predict(*script, explain=True)


@pytest.mark.parametrize(
    "begun", [[], chunked({"progress": 0.5}, end=False)], ids=["silence", "silence after progress"]
)
def test_silence_ends_in_a_timeout(monkeypatch: pytest.MonkeyPatch, begun: list[bytes]):
    monkeypatch.setattr(api.client, "EXPLAIN_SECONDS", 0.2)
    with pytest.raises(ServiceTimeout, match="within 0.2 seconds"):
        predict(*begun, lambda: time.sleep(1), explain=True)


def test_a_time_limit_ends_an_answer_that_keeps_reporting():
    begin, line = chunked({"progress": 0.1}, end=False)
    with pytest.raises(ServiceTimeout, match="within 0.3 seconds"):
        predict(begin, *[line, lambda: time.sleep(0.2)] * 3, explain=True, timeout=0.3)


def test_no_service_is_told_from_a_silent_one():
    with pytest.raises(ServiceUnreachable, match="start it with `make serve`"), Client(url()) as client:
        client.predict(b"a photograph")


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, url())
    assert predict(response(ANSWER)).prediction == "Melanoma"


def test_the_address_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MLBIO_URL", raising=False)
    assert service_url() == Client().url == "http://127.0.0.1:8089"
    monkeypatch.setenv("MLBIO_URL", "http://other:1/")
    assert service_url() == Client().url == "http://other:1"
    monkeypatch.setenv("MLBIO_URL", "")
    assert service_url() == "http://127.0.0.1:8089"


def url() -> str:
    """An address where nothing listens."""
    return f"http://127.0.0.1:{free_port()}"


@pytest.mark.parametrize(("status", "ready"), [("200 OK", True), ("503 X", False)])
def test_readiness_is_told(status: str, ready: bool):
    body = {"status": "ready"} if ready else {"success": False, "error": "no prediction can be made at present"}
    with serving(response(body, status)) as server, Client(server.url) as client:
        assert client.is_ready() is ready
        assert server.requests[0][0].startswith("GET /readyz ")


def test_a_slow_service_is_not_ready_and_an_absent_one_raises():
    with serving(lambda: time.sleep(1)) as server, Client(server.url) as client:
        assert client.is_ready(0.2) is False
    with Client(url()) as client, pytest.raises(ServiceUnreachable):
        client.is_ready()
