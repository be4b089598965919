"""Housekeeping of a worker process, for TorchServe and Ray Serve."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import threading

from api.answer import Answer
from api.logs import EXTRA
from handler.jobs import Job
from handler.predictor import Predictor

logger = logging.getLogger("mlbio.handler")

EXPLAIN_NICENESS = 10
"""Both pools use all cores; explanations, which take seconds, yield to predictions, which take milliseconds."""


def import_explainer(predictor: Predictor) -> None:
    """Import the explainer in the background, so that the worker can answer its first health check at once."""
    threading.Thread(target=lambda: predictor.explainer, daemon=True).start()


def log_answer(answer: Answer, job: Job, batch: int, seconds: float) -> None:
    """Log a request that was answered in ``seconds``, in a batch of ``batch`` requests."""
    if job.request_id:
        fields = {"id": job.request_id, "status": answer.status, "batch": batch, "seconds": round(seconds, 4)}
        logger.info("answered", extra={EXTRA: fields})


def return_free_memory() -> None:
    """Return memory that only loading needed (a quarter of a worker's) to the system; glibc would keep it."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # only glibc has malloc_trim
        ctypes.CDLL(None).malloc_trim(0)
