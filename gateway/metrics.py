"""Prometheus metrics of the gateway. No label has a value that a client chose."""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from api.headers import EXPLAIN_POOL, POOL
from gateway.admission import Room
from gateway.record import Record

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

METHODS = ("GET", "HEAD", "POST", "OPTIONS")
PATHS = ("/predict", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/")
OTHER = "other"
"""Stands for methods and paths that are not ours: their number would be up to the client."""

PREDICT_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 200)
SAMPLES_BUCKETS = (64, 128, 256, 512, 1024, 2048, 4096)

GONE = "gone"
_OUTCOMES = {401: "unauthorised", 429: "limited", 499: GONE, 503: "busy", 504: "timeout"}


def outcome(status: int) -> str:
    """What became of a request, in a word: few, so that each has a time series of its own."""
    if status in _OUTCOMES:
        return _OUTCOMES[status]
    return "answered" if status < 400 else "refused" if status < 500 else "failed"


def known_path(path: str) -> str:
    """One of :data:`PATHS`, or :data:`OTHER`."""
    return path if path in PATHS else "/docs" if path.startswith("/docs/") else OTHER


class Metrics:
    """The metrics of one gateway, in a registry of their own."""

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
        self._waiting = Gauge("mlbio_queue_requests", "Predictions running or waiting.", ("pool",), registry=registry)
        self._places = Gauge("mlbio_queue_places", "The most that may run or wait.", ("pool",), registry=registry)
        self._held = Gauge("mlbio_queue_bytes", "Bytes of their photographs.", ("pool",), registry=registry)

    def watch(self, classifications: Room, explanations: Room) -> None:
        """Report how full the rooms are, as they are when asked."""
        for pool, room in ((POOL, classifications), (EXPLAIN_POOL, explanations)):
            self._places.labels(pool).set(room.places)
            self._waiting.labels(pool).set_function(partial(getattr, room, "taken"))
            self._held.labels(pool).set_function(partial(getattr, room, "held"))

    def count(self, method: str, path: str, status: int, seconds: float, record: Record, ended: str) -> None:
        """Count a request that has been answered."""
        known = known_path(path)
        self._requests.labels(method if method in METHODS else OTHER, known, str(status)).inc()
        if known == "/predict" and method == "POST":  # and not the preliminary requests of browsers
            self._seconds.labels(record.pool or "none", ended).observe(seconds)
        if record.answer is not None and record.answer.effort is not None:
            self._samples.observe(record.answer.effort.samples)
            self._explanation_seconds.observe(record.answer.effort.seconds)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
