"""The gateway's HTTP, with a mock in place of TorchServe."""

from __future__ import annotations

import base64
from collections.abc import Callable

import httpx
import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from api.headers import ANSWER_HEADER, STREAM_TYPE
from gateway import backend
from gateway.app import create_app, explain_seconds
from gateway.settings import MAX_BODY, Settings

OURS = {ANSWER_HEADER: "1"}
DONE = b'{"success":true,"prediction":"Melanoma","probability":0.5,"explain":null}'
BODY = {"image": base64.b64encode(b"photograph").decode()}


def gateway(handler: Callable) -> TestClient:
    return TestClient(create_app(Settings(), httpx.MockTransport(handler)), raise_server_exceptions=False)


def answer(content: bytes = DONE, status: int = 200) -> Callable:
    return lambda request: httpx.Response(status, headers=OURS, content=content)


def refused(response: httpx.Response, status: int) -> str:
    assert response.status_code == status
    assert list(response.json()) == ["success", "error"] and response.json()["success"] is False
    return response.json()["error"]


def test_an_answer_is_passed_on():
    with gateway(answer()) as client:
        response = client.post("/predict", json=BODY)
    assert response.status_code == 200 and response.content == DONE
    assert response.headers["content-type"] == "application/json"


def test_a_bad_request_never_reaches_torchserve():
    def never(request: httpx.Request) -> httpx.Response:
        raise AssertionError("it was asked")

    with gateway(never) as client:
        assert "image" in refused(client.post("/predict", json={}), 400)
        assert client.post("/predict", json={"image": ""}).headers["x-mlbio-error"] == "empty_image"
        assert client.get("/nothing").headers["x-mlbio-error"] == "not_found"
        assert "32 MiB" in refused(client.post("/predict", content=b" " * (MAX_BODY + 1)), 413)
        refused(client.get("/predict"), 405)
        refused(client.get("/nothing"), 404)


@pytest.mark.parametrize(("value", "code"), [("not_an_image", "not_an_image"), ("1", "invalid_request")])
def test_the_handlers_error_code_is_passed_on(value: str, code: str):
    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(400, headers={ANSWER_HEADER: value}, content=b'{"success":false,"error":"no"}')

    with gateway(handler) as client:
        response = client.post("/predict", json=BODY)
    assert response.headers["x-mlbio-error"] == code and response.content == b'{"success":false,"error":"no"}'


def test_503_says_when_to_try_again():
    with gateway(lambda request: httpx.Response(503)) as client:
        response = client.post("/predict", json=BODY)
    refused(response, 503)
    assert int(response.headers["retry-after"]) > 0


def test_a_fault_of_the_gateway_has_the_documented_form():
    def fault(request: httpx.Request) -> httpx.Response:
        raise RuntimeError("planted")

    with gateway(fault) as client:
        response = client.post("/predict", json=BODY)
    assert "planted" not in refused(response, 500)


def test_a_streaming_client_gets_lines_and_others_one_document():
    content = b'{"progress": 0.5}\n' + DONE + b"\n"

    def handler(request: httpx.Request) -> httpx.Response:
        streams = request.headers["accept"] == STREAM_TYPE
        return httpx.Response(200, headers=OURS, content=content if streams else DONE)

    with gateway(handler) as client:
        streamed = client.post("/predict", json=BODY | {"explain": True}, headers={"accept": STREAM_TYPE})
        plain = client.post("/predict", json=BODY | {"explain": True})
    assert streamed.content == content and streamed.headers["content-type"].startswith(STREAM_TYPE)
    assert plain.content == DONE and plain.headers["content-type"] == "application/json"


def test_a_refusal_of_a_streaming_client_is_one_line():
    with gateway(answer(b'{"success":false,"error":"no"}', 400)) as client:
        response = client.post("/predict", json=BODY | {"explain": True}, headers={"accept": STREAM_TYPE})
    assert response.status_code == 400 and response.headers["x-mlbio-error"] == "invalid_request"
    assert response.content == b'{"success":false,"error":"no","code":"invalid_request"}\n'


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [("", 180), ("wait=10", 10), ('respond-async, wait="5"', 5), ("wait=1000", 180), ("await=3", 180), ("wait=x", 180)],
)
def test_a_client_may_prefer_to_wait_less(prefer: str, seconds: float):
    request = Request({"type": "http", "headers": [(b"prefer", prefer.encode())]})
    assert explain_seconds(request, Settings()) == seconds


@pytest.mark.parametrize(("status", "expected"), [(200, 200), (500, 503)])
def test_readiness_is_one_prediction_a_second_whatever_it_says(
    monkeypatch: pytest.MonkeyPatch, status: int, expected: int
):
    asked, now = [], 100.0

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(status, headers=OURS, content=DONE)

    monkeypatch.setattr(backend.time, "monotonic", lambda: now)
    with gateway(handler) as client:
        assert [client.get("/readyz").status_code for _ in range(5)] == [expected] * 5
        assert len(asked) == 1
        now += backend.CACHE_SECONDS
        client.get("/readyz")
    assert len(asked) == 2


def test_the_gateway_is_alive_without_torchserve():
    with gateway(lambda request: httpx.Response(503)) as client:
        assert client.get("/healthz").json() == {"status": "alive"}


def test_the_documentation_asks_no_other_host():
    with gateway(answer()) as client:
        assert client.get("/openapi.json").json()["openapi"].startswith("3.1")
        page = client.get("/docs")
        assert client.get("/docs/assets/swagger-ui.css").status_code == 200
    assert "http://" not in page.text and "https://" not in page.text
