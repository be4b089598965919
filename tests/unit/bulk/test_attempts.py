"""A photograph that ends every process that reads it costs its own row and no other."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from api.request import Request
from bulk import worker as module
from bulk.attempts import FAST, GIVEN_UP, Attempts
from bulk.listing import Listing
from bulk.results import part
from bulk.worker import ENDS_WORKERS, Task, Worker

PHOTOGRAPHS = 70


class NoModel:
    """Stands in for the predictor: reading is what ends the process."""

    def complete(self, requests: list[Request], squares: list[np.ndarray]) -> list[int]:
        return [int(square) for square in squares]


class Fragile(Worker):
    """A worker whose process ends when it reads one of ``fatal``."""

    def __init__(self, task: Task, fatal: set[str]) -> None:
        self.task, self.fatal, self.predictor = task, fatal, NoModel()
        self.decoders = module.ThreadPoolExecutor(module.DECODERS)

    def read(self, path: str) -> tuple[Request, np.ndarray]:
        if path in self.fatal:
            os._exit(9)
        return Request(b""), np.asarray(0)


def attempt(task: Task, fatal: set[str]) -> int:
    """One attempt at the shard in a process of its own; returns its exit code."""
    pid = os.fork()
    if pid == 0:
        Fragile(task, fatal)({"shard": 0})
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    listing = tmp_path / "photographs.txt"
    listing.write_text("".join(f"{i}.jpg\n" for i in range(PHOTOGRAPHS)))
    monkeypatch.setattr(module, "row", lambda path, answer: {"file": path, "probability": 1.0})
    return Task(Listing.of(listing, 500), None, tmp_path, None, None)


@pytest.mark.parametrize("fatal", [["40.jpg"], ["0.jpg", "69.jpg"]])
def test_it_is_given_up_and_the_others_are_done(task: Task, fatal: list[str]):
    codes = [attempt(task, set(fatal)) for _ in range(FAST + GIVEN_UP * len(fatal) + 1)]
    assert codes == [9] * (len(codes) - 1) + [0]
    rows = pq.read_table(part(task.output, 0)).to_pylist()
    assert [r["file"] for r in rows] == [f"{i}.jpg" for i in range(PHOTOGRAPHS)]
    assert {r["file"]: r["error"] for r in rows if r["error"]} == dict.fromkeys(fatal, ENDS_WORKERS)
    assert not list(task.output.glob(".attempts*"))


def test_without_one_nothing_stays(task: Task):
    assert attempt(task, set()) == 0
    assert not list(task.output.glob(".attempts*"))
    assert all(r["error"] is None for r in pq.read_table(part(task.output, 0)).to_pylist())


def test_half_a_file_counts_as_none(tmp_path: Path):
    (tmp_path / ".attempts-00000003.json").write_text('{"started": 1')
    assert Attempts.of(tmp_path, 3).notes.started == 1
