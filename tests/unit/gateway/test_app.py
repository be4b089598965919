"""The gateway's HTTP: answers, refusals, streams, ids, log lines, metrics and headers."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin

import pytest
from msgspec import UNSET
from msgspec.structs import replace
from starlette.requests import Request
from starlette.testclient import TestClient

from api.answer import refuse, succeed
from api.errors import ErrorCode
from api.headers import EXPLAIN_POOL, POOL, STREAM_TYPE
from api.logs import EXTRA, JsonLines
from gateway import backend
from gateway.metrics import outcome
from gateway.middleware import ACCESS_LOGGER
from gateway.predict import explain_seconds
from gateway.responses import DOCS_POLICY, SECURITY_HEADERS
from gateway.settings import MAX_BODY, Settings
from tests.answers import EXPLAINED
from tests.unit.gateway.engine import BODY, DONE, Engine, gateway

EXPLAIN = BODY | {"explain": True}
LINES = {"accept": STREAM_TYPE}

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


# Answers


def test_an_answer_is_passed_on():
    engine = Engine()
    with gateway(engine) as client:
        response = client.post("/predict", json=BODY)
    assert response.status_code == 200 and response.content == DONE.body
    assert response.headers["content-type"] == "application/json"
    assert [request.image for request in engine.asked] == [b"photograph"]


def test_a_refusal_has_the_documented_form_and_never_reaches_the_engine():
    engine = Engine()
    with gateway(engine) as client:
        for response, status, code, text in (
            (client.post("/predict", json={}), 400, "invalid_request", "image"),
            (client.post("/predict", json={"image": ""}), 400, "empty_image", "empty"),
            (client.post("/predict", content=b" " * (MAX_BODY + 1)), 413, "too_large", "32 MiB"),
            (client.get("/predict"), 405, "method_not_allowed", "GET"),
            (client.get("/nothing"), 404, "not_found", "nothing here"),
        ):
            assert response.status_code == status and response.headers["x-mlbio-error"] == code
            assert list(response.json()) == ["success", "error"] and text in response.json()["error"]
    assert not engine.asked


def test_503_says_when_to_try_again():
    with gateway(Engine(refuse(503, "full"))) as client:
        response = client.post("/predict", json=BODY)
    assert response.status_code == 503 and int(response.headers["retry-after"]) > 0
    assert response.json() == {"success": False, "error": "full"}


def test_a_fault_of_the_gateway_has_the_documented_form_and_is_counted(logged: Logged):
    with gateway(Engine(RuntimeError("planted"))) as client:
        response = client.post("/predict", json=BODY)
        found = values(client)
    assert response.status_code == 500 and "planted" not in response.text and "x-request-id" in response.headers
    assert list(response.json()) == ["success", "error"] and logged()[0]["outcome"] == "failed"
    assert found['mlbio_requests_total{method="POST",path="/predict",status="500"}'] == 1


def test_a_streaming_client_gets_lines_and_others_one_document():
    with gateway() as client:
        streamed, plain = client.post("/predict", json=EXPLAIN, headers=LINES), client.post("/predict", json=EXPLAIN)
        classified = client.post("/predict", json=BODY, headers=LINES)
    assert streamed.content == b'{"progress": 0.5}\n' + plain.content + b"\n"
    assert streamed.headers["content-type"] == STREAM_TYPE
    assert plain.headers["content-type"] == classified.headers["content-type"] == "application/json"
    assert classified.content == DONE.body


def test_a_refusal_of_a_streaming_client_is_one_line_with_its_code():
    with gateway(Engine(refuse(400, "no", ErrorCode.NOT_AN_IMAGE), progress=())) as client:
        response = client.post("/predict", json=EXPLAIN, headers=LINES)
    assert response.status_code == 400 and response.headers["x-mlbio-error"] == "not_an_image"
    assert response.content == b'{"success":false,"error":"no","code":"not_an_image","status":400}\n'


def test_the_outcome_of_a_stream_is_that_of_its_last_line(logged: Logged):
    with gateway(Engine(refuse(503, "lost"))) as client:
        response = client.post("/predict", json=EXPLAIN, headers=LINES)
    assert response.status_code == 200
    last = json.loads(response.content.splitlines()[-1])
    assert last == {"success": False, "error": "lost", "code": "busy", "status": 503, "retry_after": 5}
    assert response.headers["x-accel-buffering"] == "no"  # nginx would hold the lines back
    (line,) = logged()
    assert line["status"] == 200 and line["outcome"] == "busy"


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [("", 180), ("wait=10", 10), ('respond-async, wait="5"', 5), ("wait=1000", 180), ("await=3", 180), ("wait=x", 180)],
)
def test_a_client_may_prefer_to_wait_less(prefer: str, seconds: float):
    request = Request({"type": "http", "headers": [(b"prefer", prefer.encode())]})
    assert explain_seconds(request, Settings()) == seconds


# Health and documentation


@pytest.mark.parametrize(("status", "expected"), [(200, 200), (500, 503)])
def test_readiness_is_one_prediction_a_second_whatever_it_says(
    monkeypatch: pytest.MonkeyPatch, status: int, expected: int
):
    engine, now = Engine(DONE if status == 200 else refuse(status, "no")), 100.0
    monkeypatch.setattr(backend.time, "monotonic", lambda: now)
    with gateway(engine) as client:
        assert [client.get("/readyz").status_code for _ in range(5)] == [expected] * 5
        assert len(engine.asked) == 1
        now += backend.CACHE_SECONDS
        client.get("/readyz")
        assert client.get("/healthz").json() == {"status": "alive"}
    assert len(engine.asked) == 2


def test_the_documentation_contacts_no_other_host():
    with gateway() as client:
        assert client.get("/openapi.json").json()["openapi"].startswith("3.1")
        page = client.get("/docs").text
        assert client.get("/docs/assets/swagger-ui.css").status_code == 200
    assert "http://" not in page and "https://" not in page


# Ids and log lines


def test_an_id_is_returned_if_it_is_plain_and_replaced_otherwise():
    with gateway() as client:
        assert client.get("/healthz", headers={"x-request-id": "Abc-1.2_3"}).headers["x-request-id"] == "Abc-1.2_3"
        for wrong in (b"", b"x" * 65, b"a b", b"a\tb", b'"', b"\xe4"):
            made = client.get("/healthz", headers={"x-request-id": wrong}).headers["x-request-id"]
            assert re.fullmatch("[0-9a-f]{32}", made)


def test_a_request_is_one_line_of_json(logged: Logged):
    with gateway() as client:
        response = client.post("/predict", json=BODY, headers={"x-request-id": "one"})
        client.get("/no%0Athing" + "x" * 300, headers={"x-request-id": "two"})
        client.post("/predict", json=EXPLAIN)
    first, second, third = logged()
    assert first | {"time": "", "seconds": 0} == {
        "time": "", "level": "INFO", "logger": ACCESS_LOGGER, "message": "request", "id": "one", "method": "POST",
        "path": "/predict", "status": 200, "seconds": 0, "bytes": len(response.content), "pool": POOL,
        "outcome": "answered", "key": "",
    }  # fmt: skip
    assert 0 < first["seconds"] < 10 and first["time"].endswith("Z")
    assert second["status"] == 404 and second["outcome"] == "refused" and len(second["path"]) == 200
    assert (third["pool"], third["samples"], third["explanation_seconds"]) == (EXPLAIN_POOL, 64, 1.5)
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


# Metrics


@pytest.mark.parametrize("details", [False, True])
@pytest.mark.parametrize("accept", ["application/json", STREAM_TYPE])
def test_an_explanation_is_measured_whether_or_not_its_details_are_asked_for(accept: str, details: bool):
    with gateway() as client:
        response = client.post("/predict", json=EXPLAIN | {"details": details}, headers={"accept": accept})
        found = values(client)
    expected = EXPLAINED if details else replace(EXPLAINED, details=UNSET)
    assert response.content.splitlines()[-1] == succeed(expected).body
    assert found["mlbio_explanation_samples_sum"] == 64 and found["mlbio_explanation_seconds_sum"] == 1.5
    assert found[f'mlbio_predict_seconds_count{{outcome="answered",pool="{EXPLAIN_POOL}"}}'] == 1


def test_other_requests_are_not_counted_as_predictions():
    """A browser's preflight request, say."""
    with gateway() as client:
        client.options("/predict")
        client.get("/predict")
        found = values(client)
    assert not [name for name in found if name.startswith("mlbio_predict_seconds")]


def test_no_label_is_up_to_a_client():
    with gateway() as client:
        for number in range(5):
            client.get(f"/nothing/{number}", headers={"x-request-id": f"id{number}"})
            client.request(f"METHOD{number}", "/predict")
            client.get(f"/docs/assets/{number}")
        text = client.get("/metrics").text
    assert text.count("mlbio_requests_total{") == 3
    assert "METHOD" not in text and "nothing" not in text and "id1" not in text


@pytest.mark.parametrize(
    ("word", "statuses"),
    [("answered", (200,)), ("refused", (400, 413)), ("unauthorised", (401,)), ("limited", (429,)), ("gone", (499,)),
     ("failed", (500, 502)), ("busy", (503,)), ("timeout", (504,))],
)  # fmt: skip
def test_outcomes(word: str, statuses: tuple[int, ...]):
    assert {outcome(status) for status in statuses} == {word}


# Headers


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


def test_only_origins_of_the_settings_are_allowed():
    asks = {"origin": "https://page.example", "access-control-request-method": "POST"}
    with gateway() as client:
        assert "access-control-allow-origin" not in client.post("/predict", json=BODY, headers=asks).headers
    with gateway(cors_origins="https://other.example, https://page.example") as client:
        response = client.post("/predict", json=BODY, headers=asks)
        assert response.headers["access-control-allow-origin"] == "https://page.example"
        assert client.options("/predict", headers=asks).status_code == 200
        foreign = client.post("/predict", json=BODY, headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in foreign.headers


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://page.example/", "https://page.example"),
        ("HTTPS://Page.Example", "https://page.example"),
        ("https://page.example:443", "https://page.example"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://b\u00fccher.example", "https://xn--bcher-kva.example"),
        ("http://[::1]:3000/", "http://[::1]:3000"),
        ("*", "https://page.example"),
    ],
)
def test_an_origin_is_recognised_however_it_was_written(written: str, sent: str):
    with gateway(cors_origins=written) as client:
        response = client.post("/predict", json=BODY, headers={"origin": sent})
    assert response.headers["access-control-allow-origin"] in (sent, "*")


def test_a_page_of_another_origin_can_read_every_refusal(tmp_path: Path):
    (tmp_path / "keys").write_text("one:a-key-of-the-tests-0123456789\n")
    origin = {"origin": "https://page.example"}
    key = {"authorization": "Bearer a-key-of-the-tests-0123456789"}
    settings = {"cors_origins": "https://page.example", "api_keys_file": str(tmp_path / "keys")}
    with gateway(**settings) as client:
        responses = [
            client.post("/predict", json=BODY, headers=origin),
            client.post("/predict", content=b" " * (MAX_BODY + 1), headers=origin | key),
            client.get("/nothing", headers=origin | key),
        ]
    with gateway(Engine(refuse(503, "full")), **settings) as client:
        responses.append(client.post("/predict", json=BODY, headers=origin | key))
    with gateway(Engine(RuntimeError("planted")), **settings) as client:
        responses.append(client.post("/predict", json=BODY, headers=origin | key))
    assert [response.status_code for response in responses] == [401, 413, 404, 503, 500]
    for response in responses:
        assert response.headers["access-control-allow-origin"] == "https://page.example"
        assert "x-request-id" in response.headers


def test_the_documentation_works_below_a_prefix():
    """Which a proxy adds, and removes from what it passes on."""
    with gateway() as client:
        addresses = re.findall(r'(?:href|src)="([^"]*)"|url: "([^"]*)"', client.get("/docs").text)
        addresses = ["".join(pair) for pair in addresses]
        addresses.append(client.get("/", follow_redirects=False).headers["location"])
        servers = client.get("/openapi.json").json()["servers"]
    assert len(addresses) == 5 and servers
    for address in [*addresses, *(server["url"] for server in servers)]:
        assert urljoin("https://a.example/prefix/docs", address).startswith("https://a.example/prefix/")
