"""Traces, collected in memory."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import Queue

import httpx
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.testclient import TestClient

from api.headers import ANSWER_HEADER, EXPLAIN_POOL, STREAM_TYPE
from gateway import traces
from gateway.app import create_app
from gateway.settings import Settings
from gateway.torchserve import TorchServe
from tests.conftest import ROOT
from tests.unit.gateway.engine import BODY, DONE

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    monkeypatch.setattr(traces, "_provider", None)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "tests")
    exporter = InMemorySpanExporter()
    traces.send_to(SimpleSpanProcessor(exporter))
    yield exporter


def gateway(status: int = 200, seen: list[httpx.Request] | None = None) -> TestClient:
    def torchserve(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        return httpx.Response(status, headers={ANSWER_HEADER: "1"}, content=DONE.body)

    settings = Settings()
    return TestClient(create_app(settings, TorchServe(settings, httpx.MockTransport(torchserve))))


def test_a_request_is_a_span_around_the_call_to_the_model_server(collected: InMemorySpanExporter):
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-01", "accept": STREAM_TYPE, "x-request-id": "one"}
    seen: list[httpx.Request] = []
    with gateway(seen=seen) as client:
        client.post("/predict", json=BODY | {"explain": True}, headers=headers)
    inner, outer = collected.get_finished_spans()
    assert outer.name == "POST /predict" and outer.attributes["mlbio.id"] == "one"
    assert f"{outer.context.trace_id:032x}" == TRACE and f"{outer.parent.span_id:016x}" == SPAN
    assert inner.parent.span_id == outer.context.span_id
    assert inner.attributes["url.full"].endswith(f"/predictions/{EXPLAIN_POOL}")
    assert BODY["image"] not in str(dict(outer.attributes)) and outer.status.is_unset
    # The model server could continue the trace.
    assert seen[0].headers["traceparent"] == f"00-{TRACE}-{inner.context.span_id:016x}-01"


def test_a_failure_is_marked_and_a_path_does_not_name_a_span(collected: InMemorySpanExporter):
    with gateway(500) as client:
        client.post("/predict", json=BODY)
        client.get("/what/ever")
    _, failed, unknown = collected.get_finished_spans()
    assert not failed.status.is_ok and not failed.status.is_unset
    assert unknown.name == "GET other"


def test_without_an_endpoint_nothing_is_imported():
    code = (
        "import sys, gateway.server as s; s.make_server(s.Settings()); print([m for m in sys.modules if 'opent' in m])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_an_endpoint_without_the_packages_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(traces.ENDPOINT, "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(traces.TracesError, match="traces"):
        traces.configure()


def test_spans_are_sent_to_the_endpoint(monkeypatch: pytest.MonkeyPatch):
    received: Queue[tuple[str, bytes]] = Queue()

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            received.put((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    monkeypatch.setattr(traces, "_provider", None)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "tests")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")  # milliseconds
    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        monkeypatch.setenv(traces.ENDPOINT, f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.handle_request, daemon=True).start()
        traces.configure()
        with gateway() as client:
            client.get("/healthz", headers={"x-request-id": "the-id"})
        path, content = received.get(timeout=20)
    assert path == "/v1/traces"
    assert b"the-id" in content
