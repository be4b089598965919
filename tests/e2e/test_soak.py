"""The service does not grow: all kinds of requests, and what each process holds before and after.

SOAK_SECONDS=3600 .venv/bin/python -m pytest -s --timeout 4000 tests/e2e/test_soak.py      for an hour, not 10 seconds
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import psutil
import pytest
import requests

from api.headers import STREAM_TYPE
from benchmarks.common import processes_by_name
from tests.conftest import ROOT
from tests.e2e.conftest import Service

pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("SOAK_SECONDS", "10"))
CLIENTS = 6
IDLE_SECONDS = 6.0
"""A little more than uvicorn and httpx keep an idle connection."""

Requests = list[Callable[[], str]]
"""A function for each kind of request; each returns a status, or "left" if the client did not wait for the answer."""


class Usage(NamedTuple):
    megabytes: float  # resident
    files: int  # open
    threads: int


MOST_GROWTH = Usage(64, 4, 6)
JAVA_MEGABYTES = 256
"""Java's heap may grow until it is collected."""


def test_the_service_does_not_grow(service: Service):
    statuses: Counter[str] = Counter()
    kinds = kinds_of_requests(service.url)
    supervisor = psutil.Process(service.process.pid)
    for request in kinds:
        request()
    warm_up = min(SECONDS / 4, 60)  # what is allocated only once
    load(kinds, warm_up, statuses)
    before = usage_when_idle(kinds, supervisor)
    load(kinds, SECONDS - warm_up, statuses)
    after = usage_when_idle(kinds, supervisor)
    print(before, after, statuses)
    assert set(before) == {"supervisor", "gateway", "TorchServe", "worker 1", "worker 2"}
    for name in before:
        limit = MOST_GROWTH._replace(megabytes=JAVA_MEGABYTES) if name == "TorchServe" else MOST_GROWTH
        growth = [now - then for now, then in zip(after[name], before[name], strict=True)]
        assert all(grown <= allowed for grown, allowed in zip(growth, limit, strict=True)), (name, growth)
    assert statuses["200"] and statuses["400"] and not statuses["500"]


def load(kinds: Requests, seconds: float, statuses: Counter[str]) -> None:
    """Several clients, each of which goes through all kinds of requests again and again; their outcomes are counted."""
    end = time.monotonic() + seconds

    def client(first: int) -> None:
        for request in itertools.islice(itertools.cycle(kinds), first, None):
            if time.monotonic() > end:
                return
            statuses[request()] += 1

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))


def usage_when_idle(kinds: Requests, supervisor: psutil.Process) -> dict[str, Usage]:
    """What each process holds after idle connections have been closed."""
    time.sleep(IDLE_SECONDS)
    kinds[0]()  # httpx closes its own when it makes the next request
    return {
        name: Usage(process.memory_info().rss / 1e6, process.num_fds(), process.num_threads())
        for name, process in processes_by_name(supervisor).items()
    }


def kinds_of_requests(url: str) -> Requests:
    photo = base64.b64encode((ROOT / "examples/drawn_nevus.jpg").read_bytes()).decode()
    explain = {"image": photo, "explain": True, "precision": "Faible"}
    briefly = {"prefer": "wait=1"}

    def send(body: object, headers: dict[str, str] | None = None, timeout: float = 60) -> str:
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
        lambda: send({"image": photo}),
        lambda: send({"image": photo, "details": True}),
        lambda: send(explain, briefly),
        lambda: send({"image": photo}),
        lambda: send({"image": "bm8gcGhvdG9ncmFwaA=="}),
        lambda: send(explain, briefly | {"accept": STREAM_TYPE}),
        lambda: send({"image": photo}),
        leave_a_stream,
        lambda: send(explain, briefly, timeout=0.2),
        lambda: send({}),
    ]
