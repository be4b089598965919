"""Prometheus metrics of the gateway. No label has a value that a client chose."""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from api.headers import EXPLAIN_POOL, POOL
from gateway.admission import Limiter
from gateway.record import Record

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

METHODS = ("GET", "HEAD", "POST", "OPTIONS")
PATHS = ("/predict", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/")
OTHER = "other"
"""Stands for methods and paths that are not ours, of which a client could make up any number."""

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
    """The metrics of one gateway, in their own registry."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
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
        self._used_slots = Gauge(
            "mlbio_queue_requests", "Predictions running or waiting.", ("pool",), registry=registry
        )
        self._slots = Gauge("mlbio_queue_places", "The most that may run or wait.", ("pool",), registry=registry)
        self._used_bytes = Gauge("mlbio_queue_bytes", "Bytes of their photographs.", ("pool",), registry=registry)

    def watch(self, classifications: Limiter, explanations: Limiter) -> None:
        """Report the current state of both limiters whenever the metrics are read."""
        for pool, limiter in ((POOL, classifications), (EXPLAIN_POOL, explanations)):
            self._slots.labels(pool).set(limiter.slots)
            self._used_slots.labels(pool).set_function(partial(getattr, limiter, "used_slots"))
            self._used_bytes.labels(pool).set_function(partial(getattr, limiter, "used_bytes"))

    def count(self, method: str, path: str, status: int, seconds: float, record: Record, result: str) -> None:
        """Count a request that has been answered."""
        known = known_path(path)
        self._requests.labels(method if method in METHODS else OTHER, known, str(status)).inc()
        if known == "/predict" and method == "POST":  # and not browsers' preflight requests
            self._seconds.labels(record.pool or "none", result).observe(seconds)
        if record.explanation is not None:
            self._samples.observe(record.explanation.samples)
            self._explanation_seconds.observe(record.explanation.seconds)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
