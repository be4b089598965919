"""Start-up time, memory, latency and processor time of the whole service, alone and during explanations.

    .venv/bin/python benchmarks/service.py              on the drawn examples
    .venv/bin/python benchmarks/service.py PHOTO …      on other photographs

Latencies are those of one client. Processor time is that of all processes of the service. The cores for a million
requests a month allow for peaks of three times the average load.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import Event

import psutil

from api.client import Client
from api.request import PRECISIONS
from benchmarks.common import add_photo_argument, print_header, print_row, processes_by_name, running_service, seconds

CLIENTS = 8
"""Concurrent clients, for the rate and processor time of classifications."""

SETTLE_SECONDS = 2.0
"""Time for a requested explanation to start."""

PEAK_LOAD = 3.0
HOURS_PER_MONTH = 30 * 24


def main() -> None:
    """Print the tables."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_photo_argument(p)
    p.add_argument("--classifications", type=int, default=300, help="for each figure (default: %(default)s)")
    p.add_argument("--explanations", type=int, default=16, help="of each precision (default: %(default)s)")
    arguments = p.parse_args()
    photos = [photo.read_bytes() for photo in arguments.photo]
    with running_service() as service, Client(service.url) as client:
        print(f"a prediction works {service.start_seconds:.1f} s after the start; memory then:")
        print_memory(service.supervisor)
        client.predict(photos[0])
        print_latencies(service.url, client, photos, arguments.classifications)
        costs = {"classification": classify(client, service.supervisor, photos, arguments.classifications)}
        print_header("explanation", "median s", "largest s", "median samples", "reached its target")
        for precision in PRECISIONS:
            name = f"explanation, {precision}"
            costs[name] = explain(client, service.supervisor, photos, precision, arguments.explanations)
        print_header("", "core seconds", "requests/s", "core hours per million", "cores for a million a month")
        for name, (core_seconds, rate) in costs.items():
            hours = core_seconds * 1e6 / 3600
            cells = (
                f"{core_seconds:.3f}",
                f"{rate:.2f}",
                f"{hours:,.1f}",
                f"{PEAK_LOAD * hours / HOURS_PER_MONTH:.2f}",
            )
            print_row(name, *cells)
        print("\nmemory at the end:")
        print_memory(service.supervisor)


def print_memory(supervisor: psutil.Process) -> None:
    """Memory of each process in MB: resident, with shared pages divided among their users, and unshared."""
    print_header("process", "resident MB", "proportional MB", "unshared MB")
    for name, process in processes_by_name(supervisor).items():
        memory = process.memory_full_info()
        print_row(name, *(f"{size / 1e6:.0f}" for size in (memory.rss, memory.pss, memory.uss)))


def print_latencies(url: str, client: Client, photos: list[bytes], count: int) -> None:
    """Milliseconds of a classification for one client: nothing else runs, or explanations run back to back."""

    def percentiles() -> tuple[float, float]:
        times = [1000 * seconds(partial(client.predict, photo)) for photo in cycle(photos, count)]
        return statistics.median(times), statistics.quantiles(times, n=100)[98]

    alone = percentiles()
    with explanations_running(url, photos[0]):
        during = percentiles()
    print_header("classification, ms", "median", "99 %")
    print_row("alone", *(f"{value:.0f}" for value in alone))
    print_row("while explanations run", *(f"{value:.0f}" for value in during))
    print_row("ratio", *(f"{b / a:.2f}" for a, b in zip(alone, during, strict=True)))


@contextmanager
def explanations_running(url: str, photo: bytes) -> Iterator[None]:
    """Explanations back to back, requested by another client."""
    stop = Event()

    def explain_until_stopped() -> None:
        with Client(url) as client:
            while not stop.is_set():
                client.predict(photo, explain=True, precision="Importante")

    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(explain_until_stopped)
        time.sleep(SETTLE_SECONDS)
        try:
            yield
        finally:
            stop.set()
        work.result()


def classify(client: Client, supervisor: psutil.Process, photos: list[bytes], count: int) -> tuple[float, float]:
    """Core seconds of a classification, and classifications per second, with concurrent clients."""
    used = cpu_seconds(supervisor)
    with ThreadPoolExecutor(CLIENTS) as pool:
        elapsed = seconds(lambda: list(pool.map(client.predict, cycle(photos, count))))
    return (cpu_seconds(supervisor) - used) / count, count / elapsed


def explain(
    client: Client, supervisor: psutil.Process, photos: list[bytes], precision: str, count: int
) -> tuple[float, float]:
    """Print a row; returns core seconds of an explanation, and explanations per second."""
    times, samples, reached = [], [], 0
    used = cpu_seconds(supervisor)
    for photo in cycle(photos, count):
        started = time.perf_counter()
        details = client.predict(photo, explain=True, precision=precision).details
        times.append(time.perf_counter() - started)
        assert details and details.explanation
        samples.append(details.explanation.samples)
        reached += bool(details.explanation.reached)
    used = cpu_seconds(supervisor) - used
    durations = f"{statistics.median(times):.2f}", f"{max(times):.2f}"
    print_row(precision, *durations, f"{statistics.median(samples):.0f}", f"{reached} of {count}")
    return used / count, count / sum(times)


def cycle(photos: list[bytes], count: int) -> Iterator[bytes]:
    """``count`` photographs, in turn."""
    return itertools.islice(itertools.cycle(photos), count)


def cpu_seconds(supervisor: psutil.Process) -> float:
    """Processor time that the service's processes have used so far."""
    return sum(sum(process.cpu_times()[:2]) for process in [supervisor, *supervisor.children(recursive=True)])


if __name__ == "__main__":
    main()
