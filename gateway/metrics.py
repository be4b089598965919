"""Prometheus metrics of the gateway. No label has a value that a client chose."""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from api.answer import ExplanationFigures
from gateway.admission import Limiter

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

METHODS = ("GET", "HEAD", "POST", "PUT", "OPTIONS")
PATHS = ("/predict", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/")
OTHER = "other"
"""Label of unknown methods and paths, of which a client could make up any number."""

PREDICT_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 200)
SAMPLES_BUCKETS = (64, 128, 256, 512, 1024, 2048, 4096)

GONE = "gone"
_OUTCOMES = {401: "unauthorised", 429: "limited", 499: GONE, 503: "busy", 504: "timeout"}


def outcome(status: int) -> str:
    """The outcome of a request, one of a few, as each is a time series of its own."""
    if status in _OUTCOMES:
        return _OUTCOMES[status]
    return "answered" if status < 400 else "refused" if status < 500 else "failed"


def known_path(path: str) -> str:
    """One of :data:`PATHS`, or :data:`OTHER`."""
    return path if path in PATHS else "/docs" if path.startswith("/docs/") else OTHER


class Metrics:
    """The metrics of one gateway, in their own registry.

    Args:
        limiters: by pool; their state at the time is reported whenever the metrics are read.
    """

    def __init__(self, limiters: dict[str, Limiter]) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter("mlbio_requests", "HTTP requests.", ("method", "path", "status"), registry=registry)
        self._seconds = Histogram(
            "mlbio_predict_seconds",
            "Seconds from a request for a prediction to the end of its answer.",
            ("pool", "outcome"),
            buckets=PREDICT_BUCKETS,
            registry=registry,
        )
        self._samples = Histogram(
            "mlbio_explanation_samples",
            "Perturbed photographs of an explanation.",
            buckets=SAMPLES_BUCKETS,
            registry=registry,
        )
        self._explanation_seconds = Histogram(
            "mlbio_explanation_seconds",
            "Seconds that the model server computed on an explanation.",
            buckets=PREDICT_BUCKETS,
            registry=registry,
        )
        used_slots = Gauge("mlbio_queue_requests", "Predictions running or waiting.", ("pool",), registry=registry)
        slots = Gauge("mlbio_queue_places", "The most that may run or wait.", ("pool",), registry=registry)
        used_bytes = Gauge("mlbio_queue_bytes", "Bytes of their photographs.", ("pool",), registry=registry)
        for pool, limiter in limiters.items():
            slots.labels(pool).set(limiter.slots)
            used_slots.labels(pool).set_function(partial(getattr, limiter, "used_slots"))
            used_bytes.labels(pool).set_function(partial(getattr, limiter, "used_bytes"))

    def count_request(self, method: str, path: str, status: int) -> None:
        """Count a request of any kind."""
        self._requests.labels(method if method in METHODS else OTHER, known_path(path), str(status)).inc()

    def count_prediction(
        self, pool: str, result: str, seconds: float, explanation: ExplanationFigures | None = None
    ) -> None:
        """Count a prediction."""
        self._seconds.labels(pool or "none", result).observe(seconds)
        if explanation is not None:
            self._samples.observe(explanation.samples)
            self._explanation_seconds.observe(explanation.seconds)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)
