"""Does the service grow? All kinds of requests for some minutes, and what each process holds before and after.

.venv/bin/python benchmarks/soak.py                       5 minutes
.venv/bin/python benchmarks/soak.py --minutes 60

Exits with 1 if memory, file handles or threads grew by more than the limits below.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from api.headers import STREAM_TYPE
from benchmarks.service import SERVER, WORKER, running_service

ROOT = Path(__file__).resolve().parent.parent
CLIENTS = 6
REST_SECONDS = 6.0
"""A little more than uvicorn and httpx keep a connection that nobody uses."""

MEGABYTES, HANDLES, THREADS = 64.0, 4, 6
"""Most growth of a process. Java's heap may grow until it is collected: it gets four times the memory."""


@dataclass(frozen=True)
class Usage:
    """What a process holds: resident memory in MB, open file handles, threads."""

    megabytes: float
    handles: int
    threads: int


@dataclass(frozen=True)
class Growth:
    """One process at the beginning and at the end."""

    name: str
    before: Usage
    after: Usage

    @property
    def excessive(self) -> bool:
        """Whether it grew by more than the limits."""
        memory = MEGABYTES * (4 if self.name == "TorchServe" else 1)
        return (
            self.after.megabytes - self.before.megabytes > memory
            or self.after.handles - self.before.handles > HANDLES
            or self.after.threads - self.before.threads > THREADS
        )


def main() -> int:
    """The command line; returns the exit code."""
    p = argparse.ArgumentParser(description="Load the service for some minutes, and see whether it grows.")
    p.add_argument("--minutes", type=float, default=5.0)
    minutes = p.parse_args().minutes
    with running_service() as (url, _, supervisor):
        print(f"{CLIENTS} clients for {minutes:g} minutes", flush=True)
        growth, statuses = soak(url, supervisor, 60 * minutes)
    print(", ".join(f"{count} × {status}" for status, count in sorted(statuses.items())))
    print("| process | MB | file handles | threads |\n" + "| --- " * 4 + "|")
    for g in growth:
        cells = [f"{a:.0f} → {b:.0f}" for a, b in zip(vars(g.before).values(), vars(g.after).values(), strict=True)]
        print(f"| {g.name} | {' | '.join(cells)} |{' grew too much' if g.excessive else ''}")
    return int(any(g.excessive for g in growth))


def soak(url: str, supervisor: psutil.Process, seconds: float) -> tuple[list[Growth], Counter[str]]:
    """Load the service at ``url``, and compare what the processes that ``supervisor`` started hold before and after.

    Both times at rest, and after a quarter of the load, at most a minute, has made what is made only once.

    Returns:
        The growth of each process, and how often each outcome came: a status, or "left" by the client.
    """
    statuses: Counter[str] = Counter()
    asks = kinds(url)
    for ask in asks:
        ask()
    warm_up = min(seconds / 4, 60)
    load(asks, warm_up, statuses)
    before = at_rest(asks, supervisor)
    load(asks, seconds - warm_up, statuses)
    after = at_rest(asks, supervisor)
    return [Growth(name, before[name], after[name]) for name in before], statuses


def load(asks: list[Callable[[], str]], seconds: float, statuses: Counter[str]) -> None:
    """Several clients, who each go through all kinds of requests again and again; their outcomes are counted."""
    end = time.monotonic() + seconds

    def client(first: int) -> None:
        for ask in itertools.islice(itertools.cycle(asks), first, None):
            if time.monotonic() > end:
                return
            statuses[ask()] += 1

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))


def at_rest(asks: list[Callable[[], str]], supervisor: psutil.Process) -> dict[str, Usage]:
    """What each process holds when connections that nobody uses have been closed."""
    time.sleep(REST_SECONDS)
    asks[0]()  # httpx closes its own when it makes the next request
    return {name: usage(process) for name, process in named(supervisor).items()}


def usage(process: psutil.Process) -> Usage:
    """What a process holds now."""
    with process.oneshot():
        return Usage(process.memory_info().rss / 1e6, process.num_fds(), process.num_threads())


def named(supervisor: psutil.Process) -> dict[str, psutil.Process]:
    """The supervisor and the processes that it started, by name."""
    found = {"supervisor": supervisor}
    for child in supervisor.children(recursive=True):
        command = " ".join(child.cmdline())
        if WORKER in command:
            found[f"worker {1 + sum(name.startswith('worker') for name in found)}"] = child
        elif SERVER in command:
            found["TorchServe"] = child
        elif "-m gateway" in command:
            found["gateway"] = child
    return found


def kinds(url: str) -> list[Callable[[], str]]:
    """One function for each kind of request; each returns the outcome."""
    photo = base64.b64encode((ROOT / "examples/drawn_nevus.jpg").read_bytes()).decode()
    explain = {"image": photo, "explain": True, "precision": "Faible"}
    briefly = {"prefer": "wait=1"}

    def ask(body: object, headers: dict[str, str] | None = None, timeout: float = 60) -> str:
        try:
            return str(requests.post(f"{url}/predict", json=body, headers=headers, timeout=timeout).status_code)
        except requests.Timeout:
            return "left"

    def leave_a_stream() -> str:
        headers = briefly | {"accept": STREAM_TYPE}
        with requests.post(f"{url}/predict", json=explain, headers=headers, stream=True, timeout=60) as response:
            line = json.loads(next(response.iter_lines()))
        return "left" if "progress" in line else str(response.status_code)

    return [
        lambda: ask({"image": photo}),
        lambda: ask({"image": photo, "details": True}),
        lambda: ask(explain, briefly),
        lambda: ask({"image": photo}),
        lambda: ask({"image": "bm8gcGhvdG9ncmFwaA=="}),
        lambda: ask(explain, briefly | {"accept": STREAM_TYPE}),
        lambda: ask({"image": photo}),
        leave_a_stream,
        lambda: ask(explain, briefly, timeout=0.2),
        lambda: ask({}),
    ]


if __name__ == "__main__":
    sys.exit(main())
