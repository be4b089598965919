"""Hostile requests to the real service: each gets a fitting answer, and the service remains as it was.

They are those that take most time or memory: tests/unit/gateway/test_connection.py sends all of them, and
tests/unit/api/test_limits.py decodes all photographs.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests import decoding_cost
from tests.conftest import encode
from tests.e2e.conftest import GATEWAY, SERVER, Service
from tests.hostile_photographs import HOSTILE
from tests.hostile_requests import BAD, FINE, GROUPS, Case, post, problem

PHOTOGRAPHS = (
    "read: JPEG of 63 megapixels and 20 MB",
    "read: RGB PNG",
    "read: grey PNG of 16 bits",
    "read: lossless WebP",
    "read: compressed text of 60 MB",
    "PNG that claims too much",
    "TIFF by its tiles that claims too much",
    "iCCP of 100 MB",
    "JPEG of 100 scans and 64 megapixels",
    "BigTIFF",
)
REQUESTS = (
    "16 MiB of lists",
    "30 MiB of escapes",
    "30 MiB of blanks as the image",
    "20 MiB of UTF-16",
    "over the limit",
    "chunks of a byte",
    "chunks and a length",
    "a length 10000000 too large",
    "10,000 headers",
    "a WebSocket",
    "no HTTP/1.1: TLS",
)
MEGABYTES = {"gateway": 400, "worker": 400, "java": 800}
"""How far they may raise the memory of a process. Each holds a request of up to 32 MiB in several forms."""


def cases() -> Iterator[Case]:
    for name in PHOTOGRAPHS:
        body = b'{"image": "' + base64.b64encode(HOSTILE[name]()) + b'"}'
        yield Case(name, post(body), FINE if name.startswith("read: ") else BAD)
    found = {case.name: case for make in GROUPS.values() for case in make()}
    yield from (found[name] for name in REQUESTS)


def peak_memory(process: psutil.Process) -> int:
    return decoding_cost.peak(process.pid) // 1024


def test_hostile_requests_get_a_fitting_answer_and_leave_the_service_as_it_was(
    service: Service, example_images: list[Path]
):
    good = {"image": encode(example_images[0].read_bytes()), "details": True}
    first = service.predict(good).json()
    (java,), (gateway,) = service.processes(SERVER), service.processes(*GATEWAY.split())
    processes = [("java", java), ("gateway", gateway), *(("worker", worker) for worker in service.workers().values())]
    for _, process in processes:
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # its peak is what it has now
    before = [peak_memory(process) for _, process in processes]
    problems = {case.name: text for case in cases() if (text := problem(service.url, case))}
    assert not problems
    assert service.predict(good).json() == first
    for (kind, process), memory in zip(processes, before, strict=True):
        assert process.is_running(), kind
        assert peak_memory(process) - memory <= MEGABYTES[kind], kind
