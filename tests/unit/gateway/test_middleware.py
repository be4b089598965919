"""Ids, log lines, metrics and headers of every request, with a mock in place of TorchServe."""

from __future__ import annotations

import base64
import json
import logging
import re
import sys
from collections.abc import Callable

import httpx
import pytest
from msgspec import UNSET
from msgspec.structs import replace
from starlette.testclient import TestClient

from api.answer import succeed
from api.headers import ANSWER_HEADER, EXPLAIN_POOL, POOL, REQUEST_ID_HEADER, STREAM_TYPE
from api.logs import EXTRA, JsonLines
from gateway.app import create_app
from gateway.metrics import outcome
from gateway.middleware import ACCESS_LOGGER
from gateway.responses import DOCS_POLICY, SECURITY_HEADERS
from gateway.settings import Settings
from tests.answers import EXPLAINED

BODY = {"image": base64.b64encode(b"photograph").decode()}
DONE = b'{"success":true,"prediction":"Melanoma","probability":0.5,"explain":null}'


def torchserve(request: httpx.Request) -> httpx.Response:
    """As the handler."""
    content = DONE
    if request.url.path.endswith(EXPLAIN_POOL):
        content = succeed(EXPLAINED).body
        if request.headers["accept"] == STREAM_TYPE:
            content = b'{"progress": 0.5}\n' + content + b"\n"
    return httpx.Response(200, headers={ANSWER_HEADER: "1"}, content=content)


def gateway(handler: Callable = torchserve, **settings) -> TestClient:
    app = create_app(Settings(**settings), httpx.MockTransport(handler))
    return TestClient(app, raise_server_exceptions=False)


Logged = Callable[[], list[dict]]


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Logged:
    """Gives the access log's lines, which are JSON."""
    caplog.set_level(logging.INFO, ACCESS_LOGGER)
    lines = JsonLines()
    return lambda: [json.loads(lines.format(record)) for record in caplog.records if record.name == ACCESS_LOGGER]


def values(client: TestClient) -> dict[str, float]:
    lines = [line for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_an_id_is_taken_over_and_given_to_torchserve():
    seen = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers[REQUEST_ID_HEADER])
        return torchserve(request)

    with gateway(handler) as client:
        response = client.post("/predict", json=BODY, headers={"x-request-id": "Abc-1.2_3"})
        assert response.headers["x-request-id"] == "Abc-1.2_3"
        made = client.post("/predict", json=BODY).headers["x-request-id"]
    assert seen == ["Abc-1.2_3", made] and re.fullmatch("[0-9a-f]{32}", made)


@pytest.mark.parametrize("wrong", [b"", b"x" * 65, b"a b", b"a\tb", b'"', b"\xe4", b"a,b"])
def test_an_id_that_is_long_or_not_plain_is_made_anew(wrong: bytes):
    with gateway() as client:
        made = client.get("/healthz", headers={"x-request-id": wrong}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", made)


def test_a_request_is_one_line_of_json(logged: Logged):
    with gateway() as client:
        response = client.post("/predict", json=BODY, headers={"x-request-id": "one"})
        client.get("/no%0Athing" + "x" * 300, headers={"x-request-id": "two"})
    first, second = logged()
    assert first | {"time": "", "seconds": 0} == {
        "time": "", "level": "INFO", "logger": ACCESS_LOGGER, "message": "request", "id": "one", "method": "POST",
        "path": "/predict", "status": 200, "seconds": 0, "bytes": len(response.content), "pool": POOL,
        "outcome": "answered", "key": "",
    }  # fmt: skip
    assert 0 < first["seconds"] < 10 and first["time"].endswith("Z")
    assert second["status"] == 404 and second["outcome"] == "refused" and len(second["path"]) == 200
    assert all(BODY["image"] not in json.dumps(line) for line in logged())


def test_a_trace_stays_on_its_line():
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "it\nfailed", (), sys.exc_info())
    setattr(record, EXTRA, {"id": "one"})
    line = JsonLines().format(record)
    assert "\n" not in line
    assert json.loads(line)["id"] == "one" and "ValueError: first" in json.loads(line)["trace"]


def test_what_is_no_prediction_is_not_counted_as_one():
    """A browser's preflight request, say."""
    with gateway() as client:
        client.options("/predict")
        client.get("/predict")
        found = values(client)
    assert not [name for name in found if name.startswith("mlbio_predict_seconds")]
    assert found['mlbio_requests_total{method="GET",path="/predict",status="405"}'] == 1


@pytest.mark.parametrize("details", [False, True])
@pytest.mark.parametrize("accept", ["application/json", STREAM_TYPE])
def test_an_explanation_is_measured_whether_or_not_its_details_are_asked_for(accept: str, details: bool):
    with gateway() as client:
        body = BODY | {"explain": True, "details": details}
        response = client.post("/predict", json=body, headers={"accept": accept})
        found = values(client)
    expected = EXPLAINED if details else replace(EXPLAINED, details=UNSET)
    assert response.content.splitlines()[-1] == succeed(expected).body
    assert found["mlbio_explanation_samples_sum"] == 64 and found["mlbio_explanation_seconds_sum"] == 1.5
    assert found[f'mlbio_predict_seconds_count{{outcome="answered",pool="{EXPLAIN_POOL}"}}'] == 1


def test_a_streams_outcome_is_that_of_its_last_line(logged: Logged):
    def handler(request: httpx.Request) -> httpx.Response:
        class Broken(httpx.AsyncByteStream):
            async def __aiter__(self):
                yield b'{"progress": 0.5}\n'
                raise httpx.ReadError("planted")

        return httpx.Response(200, headers={ANSWER_HEADER: "1"}, stream=Broken())

    with gateway(handler) as client:
        response = client.post("/predict", json=BODY | {"explain": True}, headers={"accept": STREAM_TYPE})
    (line,) = logged()
    assert response.status_code == 200 and b'"success":false' in response.content and b"planted" not in response.content
    assert line["status"] == 200 and line["outcome"] == "busy"


def test_a_fault_of_the_gateway_is_counted_and_has_an_id(logged: Logged):
    def fault(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/metrics":
            return httpx.Response(404)
        raise RuntimeError("planted")

    with gateway(fault) as client:
        response = client.post("/predict", json=BODY)
        found = values(client)
    assert response.status_code == 500 and "x-request-id" in response.headers
    assert logged()[0]["outcome"] == "failed"
    assert found['mlbio_requests_total{method="POST",path="/predict",status="500"}'] == 1


def test_no_label_is_up_to_a_client():
    with gateway() as client:
        for number in range(20):
            client.get(f"/nothing/{number}", headers={"x-request-id": f"id{number}"})
            client.request(f"METHOD{number}", "/predict")
            client.get(f"/docs/assets/{number}")
        text = client.get("/metrics").text
    assert text.count("mlbio_requests_total{") == 3
    assert "METHOD" not in text and "nothing" not in text and "id1" not in text


@pytest.mark.parametrize(
    ("status", "word"),
    [(200, "answered"), (400, "refused"), (401, "unauthorised"), (413, "refused"), (429, "limited"), (499, "gone"),
     (500, "failed"), (502, "failed"), (503, "busy"), (504, "timeout")],
)  # fmt: skip
def test_outcomes(status: int, word: str):
    assert outcome(status) == word


def test_every_response_has_the_security_headers():
    with gateway() as client:
        responses = [client.get(path) for path in ("/healthz", "/nothing", "/metrics", "/docs")]
        responses.append(client.post("/predict", json=BODY))
        assert client.get("/docs/assets/swagger-ui.css").headers["cache-control"] == "max-age=3600"
    for response in responses:
        assert set(SECURITY_HEADERS) < set(response.headers)
        assert response.headers["cache-control"] == "no-store"
    policies = {response.headers["content-security-policy"] for response in responses}
    assert policies == {DOCS_POLICY, SECURITY_HEADERS["content-security-policy"]}


def test_other_origins_are_let_in_only_if_named():
    asks = {"origin": "https://page.example", "access-control-request-method": "POST"}
    with gateway() as client:
        assert "access-control-allow-origin" not in client.post("/predict", json=BODY, headers=asks).headers
    with gateway(cors_origins="https://other.example, https://page.example") as client:
        response = client.post("/predict", json=BODY, headers=asks)
        assert response.headers["access-control-allow-origin"] == "https://page.example"
        assert client.options("/predict", headers=asks).status_code == 200
        foreign = client.post("/predict", json=BODY, headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in foreign.headers
