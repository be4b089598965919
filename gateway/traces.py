"""OpenTelemetry traces, if ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set: of requests, and of the calls to the model server.

OpenTelemetry's other variables work as documented there (``OTEL_SERVICE_NAME``, ``OTEL_EXPORTER_OTLP_HEADERS`` …). A
client's ``traceparent`` is continued, and passed on. The packages, the extra ``traces``, are imported only then.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import httpx
from starlette.types import ASGIApp

from gateway.metrics import known_path
from gateway.middleware import current

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"

_provider: TracerProvider | None = None


class TracesError(RuntimeError):
    """Traces are configured and cannot be made. The message says what to do."""


def configure() -> None:
    """Trace what is instrumented from now on, if the environment says where to send the traces.

    Raises:
        TracesError: OpenTelemetry is not installed.
    """
    if not os.environ.get(ENDPOINT):
        return
    try:
        import opentelemetry.instrumentation.asgi
        import opentelemetry.instrumentation.httpx  # noqa: F401
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise TracesError(f"{ENDPOINT} is set, and OpenTelemetry is missing: install the extra `traces`") from None
    send_to(BatchSpanProcessor(OTLPSpanExporter()))


def send_to(processor: SpanProcessor) -> None:
    """Trace what is instrumented from now on, through ``processor``."""
    global _provider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    os.environ.setdefault("OTEL_SERVICE_NAME", "mlbio-gateway")
    os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http")  # the stable names of attributes
    _provider = TracerProvider(resource=Resource.create())
    _provider.add_span_processor(processor)


def instrument_app(app: ASGIApp) -> ASGIApp:
    """``app``, with a span around each request if traces are configured."""
    if _provider is None:
        return app
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    return OpenTelemetryMiddleware(
        app, tracer_provider=_provider, default_span_details=_span_details, exclude_spans=["receive", "send"]
    )


def instrument_client(client: httpx.AsyncClient) -> None:
    """Make each request of ``client`` a span, and pass its trace on, if traces are configured."""
    if _provider is not None:
        from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

        HTTPXClientInstrumentor.instrument_client(client, tracer_provider=_provider)


def _span_details(scope: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """A span's name, one of few whatever path is requested, and our attributes."""
    return f"{scope['method']} {known_path(scope['path'])}", {"mlbio.id": current().id}
