"""What one machine does: the photographs of a shard are decoded in the background and classified in batches."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from api.answer import Answer, refuse
from api.request import DEFAULT_PRECISION, Precision, Request
from bulk.attempts import Attempts
from bulk.listing import Listing
from bulk.results import part, write_part
from bulk.rows import failed, row
from cluster.archive import Archive

BATCH = 32
AHEAD = 3
"""Batches that are decoded while one is classified."""

DECODERS = 2
"""Threads that decode. Decoding takes a twentieth of the network's time, and runs beside it."""

ENDS_WORKERS = "every process that read it came to an end"

MAX_BYTES = 64 * 2**20
"""A larger file is not read."""


@dataclass(frozen=True)
class Task:
    """What is to be done with every photograph.

    Attributes:
        listing: of the photographs.
        archive: on every machine at the same path.
        output: folder for the Parquet files.
        explain: the precision of explanations; None for none.
        cores: of each worker; None for all of a machine's.
    """

    listing: Listing
    archive: Archive
    output: Path
    explain: Precision | None
    cores: int | None


class Worker:
    """Holds the model, and does one shard after another.

    Args:
        task: what to do.

    Raises:
        api.archive.ArchiveError: the archive cannot be used.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.predictor = task.archive.load(task.cores)
        self.decoders = ThreadPoolExecutor(DECODERS)

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Do the shard ``item["shard"]``; returns its numbers of photographs and of those that failed."""
        shard = int(item["shard"])
        paths = self.task.listing.paths(shard)
        attempts = Attempts.of(self.task.output, shard)
        rows = list(self.rows_one_by_one(paths, attempts) if attempts.one_by_one else self.rows(paths))
        write_part(part(self.task.output, shard), rows, explained=self.task.explain is not None)
        attempts.finished()
        return {"shard": shard, "photographs": len(rows), "failed": sum("error" in r for r in rows)}

    def rows(self, paths: list[str]) -> Iterator[dict[str, Any]]:
        """A row for each path, in order."""
        batches = [paths[i : i + BATCH] for i in range(0, len(paths), BATCH)]
        ahead: deque[list[Future[tuple[Request, np.ndarray | Answer]]]] = deque()
        for number, names in enumerate(batches):
            for batch in batches[number + len(ahead) : number + AHEAD + 1]:
                ahead.append([self.decoders.submit(self.read, path) for path in batch])
            read = [future.result() for future in ahead.popleft()]
            answers = self.predictor.complete([r for r, _ in read], [square for _, square in read])
            yield from map(row, names, answers)

    def rows_one_by_one(self, paths: list[str], attempts: Attempts) -> Iterator[dict[str, Any]]:
        """As :meth:`rows`, for a shard that has ended workers."""
        for number, path in enumerate(paths):
            yield from self.rows([path]) if attempts.take(number) else [failed(path, ENDS_WORKERS)]

    def read(self, path: str) -> tuple[Request, np.ndarray | Answer]:
        """The request of a photograph, and its square or why it has none."""
        try:
            if os.stat(path).st_size > MAX_BYTES:
                raise OSError(None, f"over {MAX_BYTES // 2**20} MiB: make it smaller")
            request = Request(
                Path(path).read_bytes(),
                explain=self.task.explain is not None,
                precision=self.task.explain or DEFAULT_PRECISION,
                details=True,
            )
        except (OSError, ValueError) as error:  # ValueError: a NUL in its name
            reason = error.strerror if isinstance(error, OSError) else error
            return Request(b""), refuse(400, f"cannot be read: {reason}")
        return request, self.predictor.read(request)
