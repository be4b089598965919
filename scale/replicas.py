"""Ray Serve replicas of both pools, which use the handler's predictor and jobs."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from ray import serve

from api.answer import Answer
from api.request import Request
from gateway.backend import PROBE
from handler.jobs import Job, cancel
from handler.worker import EXPLAIN_NICENESS, import_explainer, log_answer, return_free_memory
from scale.archive import Archive

BATCH = 8
"""Maximum batch size, as in ``config.properties``."""

STALL_SECONDS = 60.0
"""An explanation without progress for this long is stuck; normally it reports several times a second."""


class Replica:
    """A loaded model, and the one thread that uses it."""

    def __init__(self, archive: Archive) -> None:
        self._predictor = archive.load()
        self._thread = ThreadPoolExecutor(1)
        self._last_progress = time.monotonic()
        return_free_memory()

    async def check_health(self) -> None:
        """Make a prediction. Ray Serve calls this, and replaces the replica if it raises an error."""
        (answer,) = await self._run([PROBE], [Job()])
        if answer.status != 200:
            raise RuntimeError(f"a prediction was answered with {answer.status}")

    def _run(self, requests: list[Request], jobs: list[Job]) -> asyncio.Future[list[Answer]]:
        return asyncio.get_running_loop().run_in_executor(self._thread, self._answer, requests, jobs)

    def _answer(self, requests: list[Request], jobs: list[Job]) -> list[Answer]:
        started = self._last_progress = time.monotonic()
        answers = self._predictor.answer(requests, jobs)
        for answer, job in zip(answers, jobs, strict=True):
            log_answer(answer, job, len(requests), time.monotonic() - started)
        return answers


class PredictReplica(Replica):
    """Classifies in batches."""

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=0.001)
    async def predict(self, calls: list[tuple[Request, dict[str, str]]]) -> list[Answer]:
        """Answer requests, in order. Each has the headers of :mod:`api.headers`, with lower-case names."""
        jobs = [Job.from_headers(headers, lambda share: None) for _, headers in calls]
        return await self._run([request for request, _ in calls], jobs)


class ExplainReplica(Replica):
    """Classifies and explains, one request at a time."""

    def __init__(self, archive: Archive) -> None:
        os.nice(EXPLAIN_NICENESS)
        super().__init__(archive)
        self._explaining = 0
        import_explainer(self._predictor)

    async def explain(self, request: Request, headers: dict[str, str]) -> AsyncGenerator[float | Answer]:
        """Yield progress, 0 to 1, if the ``headers`` accept a stream, and finally the answer.

        If the caller cancels, the explanation is cancelled.
        """
        parts: asyncio.Queue[float | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def report(share: float) -> None:
            self._last_progress = time.monotonic()
            loop.call_soon_threadsafe(parts.put_nowait, share)

        job = Job.from_headers(headers, report)
        streams = job.on_progress is not None
        job = replace(job, on_progress=report)  # the health check needs it in any case
        self._explaining += 1
        work = self._run([request], [job])
        work.add_done_callback(lambda done: parts.put_nowait(None))
        try:
            while (share := await parts.get()) is not None:
                if streams:
                    yield share
            (answer,) = await work
            yield answer
        finally:
            self._explaining -= 1
            if not work.done():
                cancel(job.id or "")

    async def check_health(self) -> None:
        """As :meth:`Replica.check_health`; during an explanation, check its progress instead."""
        if not self._explaining:
            await super().check_health()
        elif time.monotonic() - self._last_progress > STALL_SECONDS:
            raise RuntimeError(f"an explanation has made no progress for {STALL_SECONDS:.0f} s")
