"""Shared by several benchmarks: the shipped model, photographs, timing, Markdown tables, and the running service."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from supervisor.processes import free_port

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINT = ROOT / "model_store" / "model_mlbio.pth"


def add_photo_argument(parser: ArgumentParser) -> None:
    """``photo``: one or several files."""
    examples = sorted((ROOT / "examples").glob("drawn_*.jpg"))
    parser.add_argument("photo", nargs="*", type=Path, default=examples, help="default: the drawn examples")


def print_header(*columns: str) -> None:
    """The first two lines of a Markdown table, after an empty one."""
    print()
    print_row(*columns)
    print("| --- " * len(columns) + "|", flush=True)


def print_row(*cells: str) -> None:
    """A line of a Markdown table."""
    print(f"| {' | '.join(cells)} |", flush=True)


def median_seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Median wall-clock time of ``work()``, after a warm-up call."""
    work()
    return statistics.median(seconds(work) for _ in range(repeats))


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@dataclass(frozen=True)
class RunningService:
    """The service as ``make serve`` starts it, on free ports.

    Attributes:
        url: of the gateway.
        start_seconds: until a prediction worked.
        supervisor: parent of all other processes.
    """

    url: str
    start_seconds: float
    supervisor: psutil.Process


@contextmanager
def running_service() -> Iterator[RunningService]:
    """Start the service, and stop it at the end."""
    port = free_port()
    addresses = {"MLBIO_PORT": str(port), "MLBIO_TORCHSERVE_URL": f"http://127.0.0.1:{free_port()}"}
    with tempfile.TemporaryDirectory() as logs:
        started = time.monotonic()
        command = [sys.executable, "-m", "supervisor", "--logs", logs]
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | addresses, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            if not any("a prediction works" in line for line in process.stdout):
                raise SystemExit("the service did not start")
            url, start_seconds = f"http://127.0.0.1:{port}", time.monotonic() - started
            yield RunningService(url, start_seconds, psutil.Process(process.pid))
        finally:
            process.terminate()
            process.wait()


def processes_by_name(supervisor: psutil.Process) -> dict[str, psutil.Process]:
    """The supervisor and its descendants: ``gateway``, ``TorchServe``, ``worker 1`` and ``worker 2``."""
    found = {"supervisor": supervisor}
    for child in supervisor.children(recursive=True):
        command = " ".join(child.cmdline())
        if "model_service_worker" in command:
            found[f"worker {1 + sum(name.startswith('worker') for name in found)}"] = child
        elif "org.pytorch.serve" in command:
            found["TorchServe"] = child
        elif "-m gateway" in command:
            found["gateway"] = child
    return found
