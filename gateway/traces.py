"""OpenTelemetry traces, if ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set: a span for each request, and one within it for the
model server's part.

OpenTelemetry's other variables work as documented there (``OTEL_SERVICE_NAME``, ``OTEL_EXPORTER_OTLP_HEADERS`` …). A
client's ``traceparent`` is continued. Its packages, the extra ``traces``, are imported only then.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from starlette.datastructures import Headers

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"

_tracer: Any = None


class TracesError(RuntimeError):
    """Traces are wanted and cannot be made. The message says what to do."""


def configure() -> None:
    """Make traces from now on if the environment says where to send them.

    Raises:
        TracesError: OpenTelemetry is not installed.
    """
    if not os.environ.get(ENDPOINT):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise TracesError(f"{ENDPOINT} is set, and OpenTelemetry is missing: install the extra `traces`") from None
    send_to(BatchSpanProcessor(OTLPSpanExporter()))


def send_to(processor: Any) -> None:
    """Make traces from now on, for a span processor of OpenTelemetry's SDK."""
    global _tracer
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    os.environ.setdefault("OTEL_SERVICE_NAME", "mlbio-gateway")
    provider = TracerProvider(resource=Resource.create())
    provider.add_span_processor(processor)
    _tracer = provider.get_tracer("mlbio.gateway")


@contextlib.contextmanager
def request_span(name: str, headers: Headers, attributes: dict[str, Any]) -> Iterator[None]:
    """A span around a request, whose ``attributes`` are read at its end."""
    if _tracer is None:
        yield
        return
    from opentelemetry.trace import SpanKind, Status, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent = TraceContextTextMapPropagator().extract(headers)
    with _tracer.start_as_current_span(name, parent, SpanKind.SERVER, record_exception=False) as span:
        try:
            yield
        finally:
            span.set_attributes(attributes)
            if not 0 < attributes.get("http.response.status_code", 0) < 500:
                span.set_status(Status(StatusCode.ERROR))


class Part:
    """A span within the current request's, until :meth:`end`.

    Not a context manager that becomes the current span: each part of a stream may be asked for by another task.
    """

    def __init__(self, name: str, attributes: Mapping[str, Any]) -> None:
        self._span = None if _tracer is None else _tracer.start_span(name, attributes=attributes)

    def end(self) -> None:
        """It has ended."""
        if self._span is not None:
            self._span.end()
