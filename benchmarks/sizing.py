"""What a million requests cost: processor time and memory of the running service, and from these cores and money.

    python benchmarks/sizing.py [--price 0.04] [--explanations 40]

Money is core hours times ``--price``, what a core costs for an hour in any currency; it is not measured.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from api.client import Client
from api.request import PRECISIONS, Precision
from benchmarks.service import WORKER, running_service

ROOT = Path(__file__).resolve().parent.parent
CLIENTS = 8
MILLION = 1_000_000
PEAK = 3.0
"""A busy hour has so many times the average's requests."""


@dataclass(frozen=True)
class Cost:
    """What one kind of request needs.

    Attributes:
        name: of the kind.
        core_seconds: processor time of all processes of the service, per request.
        rate: requests a second of this machine, with all cores busy.
    """

    name: str
    core_seconds: float
    rate: float

    def row(self, price: float) -> str:
        """The line of the table; the cores are those of a month whose busiest hours have three times the average."""
        hours = self.core_seconds * MILLION / 3600
        month = 30 * 24
        cells = [f"{self.core_seconds:.3f}", f"{self.rate:.2f}", f"{hours:,.1f}", f"{PEAK * hours / month:.2f}"]
        return f"| {self.name} | {' | '.join(cells)} | {hours * price:,.2f} |"


def main() -> None:
    """Print the tables."""
    p = argparse.ArgumentParser(description="Cores, memory and money per million requests, from measurements.")
    p.add_argument("photo", nargs="*", type=Path, default=sorted((ROOT / "examples").glob("drawn_*.jpg")))
    p.add_argument("--classifications", type=int, default=600, help="to measure (default: %(default)s)")
    p.add_argument("--explanations", type=int, default=16, help="of each precision (default: %(default)s)")
    p.add_argument("--price", type=float, default=0.04, help="of a core for an hour (default: %(default)s)")
    arguments = p.parse_args()
    photos = [path.read_bytes() for path in arguments.photo]
    with running_service() as (url, _, process):
        costs = [measure("classification", url, process, photos, arguments.classifications, None)]
        costs += [
            measure(f"explanation, {precision}", url, process, photos, arguments.explanations, precision)
            for precision in PRECISIONS
        ]
        memory = memory_of(process)
    cores = psutil.cpu_count() or 1
    print(f"{len(photos)} photographs in turn, {cores} cores, {CLIENTS} clients; {arguments.price:g} a core hour\n")
    print("| | core seconds | requests/s here | core hours per million | cores for a million a month | money |")
    print("| --- " * 6 + "|")
    for cost in costs:
        print(cost.row(arguments.price))
    print("\n| process | memory of its own, MB |\n| --- | --- |")
    for name, size in memory.items():
        print(f"| {name} | {size / 1e6:,.0f} |")


def measure(
    name: str, url: str, process: psutil.Process, photos: list[bytes], count: int, precision: Precision | None
) -> Cost:
    """Send ``count`` requests, with all clients at once, and read what the service's processes used meanwhile."""
    cycle = itertools.cycle(photos)
    work = [next(cycle) for _ in range(count)]
    with Client(url) as client:

        def ask(photo: bytes) -> None:
            if precision is None:
                client.predict(photo)
            else:
                client.predict(photo, explain=True, precision=precision)

        def all_of(photographs: list[bytes]) -> None:
            # One explanation is computed at a time: more clients would only wait.
            with ThreadPoolExecutor(CLIENTS if precision is None else 2) as clients:
                list(clients.map(ask, photographs))

        all_of(work[: CLIENTS if precision is None else 1])  # warm up
        before, started = cpu_seconds(process), time.monotonic()
        all_of(work)
        seconds, used = time.monotonic() - started, cpu_seconds(process) - before
    return Cost(name, used / count, count / seconds)


def cpu_seconds(process: psutil.Process) -> float:
    """Processor time that the service's processes have used so far."""
    return sum(_each(process, lambda p: sum(p.cpu_times()[:2])).values())


def memory_of(process: psutil.Process) -> dict[str, float]:
    """Memory that each process does not share, in bytes, by what it is."""
    found: dict[str, float] = {}
    for pid, size in _each(process, lambda p: float(p.memory_full_info().uss)).items():
        words = " ".join(psutil.Process(pid).cmdline())
        name = "a worker" if WORKER in words else "Java" if "java" in words else "the gateway and what starts it all"
        found[name] = max(found.get(name, 0), size) if name == "a worker" else found.get(name, 0) + size
    return found


def _each(process: psutil.Process, figure: Callable[[psutil.Process], float]) -> dict[int, float]:
    return {p.pid: figure(p) for p in [process, *process.children(recursive=True)]}


if __name__ == "__main__":
    main()
