"""What clients send to /predict other than the documented JSON."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import subprocess
import zlib
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api.request import Request
from gateway import admission
from gateway.settings import MAX_BODY
from tests.hostile_photographs import JPEG
from tests.hostile_requests import GOOD
from tests.unit.gateway.engine import DONE, Engine, gateway
from tests.unit.gateway.test_connection import running, url_of

FULL = Request(JPEG, explain=True, precision="Faible", details=True)


def asked_by_curl(folder: Path, *arguments: str, path: str = "/predict") -> tuple[list[Request], bytes]:
    """What the engine was asked after ``curl ARGUMENTS URL``, and what curl printed."""
    (folder / "photo.jpg").write_bytes(JPEG)
    (folder / "photo.json.gz").write_bytes(gzip.compress(GOOD))
    engine = Engine()
    with running(engine) as server:
        command = ["curl", "-sS", "--max-time", "30", *arguments, url_of(server) + path]
        done = subprocess.run(command, cwd=folder, capture_output=True, check=True)
    return engine.asked, done.stdout


@pytest.mark.parametrize(
    ("arguments", "path", "expected"),
    [
        ("-F image=@photo.jpg", "", Request(JPEG)),
        ("-F image=@photo.jpg -F explain=true -F precision=low -F details=true", "", FULL),
        ("--data-binary @photo.jpg -H 'Content-Type: image/jpeg'", "", Request(JPEG)),
        ("--data-binary @photo.jpg -H 'Content-Type: image/jpeg'", "?explain=true&precision=low&details=true", FULL),
        ("--data-binary @photo.jpg -H 'Content-Type: application/octet-stream'", "", Request(JPEG)),
        ("--data-binary @photo.jpg", "", Request(JPEG)),  # curl says that it is a form
        ("-T photo.jpg", "", Request(JPEG)),  # with PUT
        ("-X POST -T photo.jpg", "", Request(JPEG)),
        ("--data-binary @photo.json.gz -H 'Content-Encoding: gzip'", "", Request(JPEG)),
    ],
)
def test_curl_sends_a_photograph(tmp_path: Path, arguments: str, path: str, expected: Request):
    asked, printed = asked_by_curl(tmp_path, *shlex.split(arguments), path="/predict" + path)
    assert asked == [expected]
    assert json.loads(printed)["success"] is True


def test_the_command_of_a_415_works(tmp_path: Path):
    (tmp_path / "photo.jpg").write_bytes(JPEG)
    engine = Engine()
    with running(engine) as server:
        command = ["curl", "-sS", "-d", "image=photo.jpg", f"{url_of(server)}/predict"]
        refusal = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        advised = re.search("curl .*", refusal["error"])[0]
        done = subprocess.run(shlex.split(advised), cwd=tmp_path, capture_output=True, check=True)
    assert json.loads(done.stdout)["success"] is True and engine.asked == [Request(JPEG)]


@pytest.mark.parametrize(
    ("content", "kind", "status", "code", "text"),
    [
        (b"<a/>", "application/xml", 415, "invalid_request", "curl -F image=@photo.jpg"),
        (b"hello", "text/plain", 415, "invalid_request", "curl -F image=@photo.jpg"),
        (b"", "image/jpeg", 400, "empty_image", "empty"),
        (b"{", "application/json", 400, "invalid_request", "JSON"),
        (b"--x\r\n", "multipart/form-data", 400, "invalid_request", "curl -F image=@photo.jpg"),
        (b"nothing", "multipart/form-data; boundary=x", 400, "invalid_request", "form"),
        (b"--x\r\n\r\n" * 1000, "multipart/form-data; boundary=x", 400, "invalid_request", "form"),
    ],
)
def test_a_body_that_is_not_understood(content: bytes, kind: str, status: int, code: str, text: str):
    with gateway() as client:
        response = client.post("/predict", content=content, headers={"content-type": kind})
    assert response.status_code == status and response.headers["x-mlbio-error"] == code
    assert text in response.json()["error"]


@pytest.mark.parametrize(
    ("files", "data", "text"),
    [
        ({"file": JPEG}, {}, 'unknown field "file": the fields are image'),
        ({"image": b""}, {}, "empty"),
        ({"image": JPEG}, {"explain": "perhaps"}, '"explain"'),
        ({"other": JPEG, **{f"x{i}": b"" for i in range(50)}}, {}, "form"),
    ],
)
def test_a_form_with_wrong_fields(files: dict[str, bytes], data: dict[str, str], text: str):
    with gateway() as client:
        response = client.post("/predict", files=files, data=data)
    assert response.status_code == 400 and text in response.json()["error"]


def send(client: TestClient, body: bytes, encoding: str):
    return client.post(
        "/predict", content=body, headers={"content-encoding": encoding, "content-type": "application/json"}
    )


RAW = zlib.compressobj(wbits=-15)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(GOOD)),
        ("deflate", zlib.compress(GOOD)),
        ("deflate", RAW.compress(GOOD) + RAW.flush()),
        ("identity", GOOD),
    ],
)
def test_a_compressed_request_is_answered_like_a_plain_one(encoding: str, body: bytes):
    engine = Engine()
    with gateway(engine) as client:
        response = send(client, body, encoding)
    assert response.content == DONE.body and engine.asked == [Request(JPEG)]


@pytest.mark.parametrize(
    ("encoding", "body", "status", "code"),
    [
        ("gzip", gzip.compress(bytes(MAX_BODY + 1)), 413, "too_large"),
        ("gzip", GOOD, 400, "invalid_request"),
        ("gzip", gzip.compress(GOOD)[:-20], 400, "invalid_request"),
        ("gzip", gzip.compress(GOOD) + b"more", 400, "invalid_request"),
        ("gzip", b"", 400, "invalid_request"),
        ("br", GOOD, 415, "invalid_request"),
        ("gzip, gzip", GOOD, 415, "invalid_request"),
    ],
)
def test_a_compressed_request_that_cannot_be_read(encoding: str, body: bytes, status: int, code: str):
    with gateway() as client:
        response = send(client, body, encoding)
    assert (response.status_code, response.headers["x-mlbio-error"]) == (status, code)


def test_a_decompression_bomb_holds_no_more_than_the_limit_of_bytes(monkeypatch: pytest.MonkeyPatch):
    held = []
    reserve = admission.Slot.reserve
    monkeypatch.setattr(
        admission.Slot, "reserve", lambda slot, size: (reserve(slot, size), held.append(slot._limiter.used_bytes))
    )
    with gateway(queue_bytes=2**22) as client:
        response = send(client, gzip.compress(bytes(MAX_BODY)), "gzip")
    assert response.status_code == 503 and max(held) <= 2**22
