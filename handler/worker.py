"""What a worker does beside answering, whichever engine runs it."""

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
"""Both pools use all cores; explanations, which take seconds, yield to classifications, which take milliseconds."""


def import_explainer(predictor: Predictor) -> None:
    """In the background: a worker that explains is ready for its first probe before the explainer has been imported."""
    threading.Thread(target=lambda: predictor.explainer, daemon=True).start()


def log_answer(answer: Answer, job: Job, batch: int, seconds: float) -> None:
    """A line about one request; ``seconds`` are those of its batch, of ``batch`` requests."""
    if job.request_id:
        fields = {"id": job.request_id, "status": answer.status, "batch": batch, "seconds": round(seconds, 4)}
        logger.info("answered", extra={EXTRA: fields})


def return_free_memory() -> None:
    """Return the memory that only loading needed to the system; glibc would keep it, a quarter of a worker's memory."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # only glibc has malloc_trim
        ctypes.CDLL(None).malloc_trim(0)
