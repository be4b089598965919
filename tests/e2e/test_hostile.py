"""Hostile requests to the real service: each gets the documented failure, and the service remains as it was."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from tests import decoding_cost, hostile_requests
from tests.conftest import encode
from tests.e2e.conftest import Service
from tests.hostile_requests import Case

SECONDS = 20
"""Time limit of an answer; the slowest photographs take one or two."""

MEGABYTES = {"gateway": 400, "worker": 400, "java": 800}
"""How far a request may raise the memory of a process. Each holds a request of up to 32 MiB in several forms."""

LEAKS = re.compile(
    r"Traceback|File \"|site-packages|/tmp|/usr|/root|/home|\.py\b|\bPIL\b|Pillow|msgspec|libtiff|libjpeg|libpng|"
    r"libwebp|zlib|h11|uvicorn|starlette|httpx|torch(?!serve)|numpy|Error\b|Exception|errno|0x[0-9a-f]{4}|decoder|"
    r"broken data",
    re.IGNORECASE,
)
"""What no text for a user may hold: paths, and words of libraries."""


@pytest.fixture(scope="module")
def good(service: Service, example_images: list[Path]) -> Callable[[], None]:
    """Checks that a good request gets the answer that it got at first."""
    body = {"image": encode(example_images[0].read_bytes()), "details": True}
    first = service.predict(body)
    assert first.status_code == 200

    def check() -> None:
        again = service.predict(body, timeout=SECONDS)
        assert again.status_code == 200 and again.json() == first.json()

    return check


class Memory:
    """The memory of a process from now on, in MB."""

    def __init__(self, process: psutil.Process) -> None:
        self.process = process
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # its peak is what it has now
        self.before = self.peak()

    def peak(self) -> int:
        return decoding_cost.peak(self.process.pid) // 1024

    def growth(self) -> int:
        return self.peak() - self.before


def processes(service: Service) -> Iterator[tuple[str, psutil.Process]]:
    """The processes of the service by kind."""
    for process in psutil.Process(service.process.pid).children(recursive=True):
        words = process.cmdline()
        if words[1:3] == ["-m", "gateway"]:
            yield "gateway", process
        elif any("model_service_worker" in word for word in words):
            yield "worker", process
        elif "java" in Path(words[0]).name:
            yield "java", process


def answer(service: Service, case: Case) -> tuple[int, str, bytes]:
    """Status, content type and body of what a raw request gets."""
    at = urlsplit(service.url)
    with socket.create_connection((at.hostname, at.port), timeout=SECONDS) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may be refused before it is complete
            connection.sendall(case.request)
        if case.cut:
            return 0, "", b""
        method = case.request.partition(b" ")[0].decode("latin-1")
        with http.client.HTTPResponse(connection, method=method if method == "HEAD" else None) as response:
            response.begin()
            return response.status, response.headers.get("content-type", ""), response.read()


def check_answer(case: Case, status: int, kind: str, body: bytes) -> None:
    """A fitting status, and the documented form."""
    assert status in case.statuses, body[:300]
    if case.request.startswith(b"HEAD "):
        return
    assert kind == "application/json"
    fields = json.loads(body)
    if status == 200:
        assert list(fields)[:4] == ["success", "prediction", "probability", "explain"] and fields["success"] is True
    else:
        assert list(fields) == ["success", "error"] and fields["success"] is False
        assert 10 < len(fields["error"]) < 300 and not LEAKS.search(fields["error"]), fields["error"]


def test_every_hostile_request_gets_a_fitting_answer_and_harms_nobody(service: Service, good: Callable[[], None]):
    good()
    memories = [(kind, Memory(process)) for kind, process in processes(service)]
    assert sorted(kind for kind, _ in memories) == ["gateway", "java", "worker", "worker"]
    failures: list[str] = []
    sent = 0
    with requests.Session() as health:
        for group, cases in hostile_requests.GROUPS.items():
            for case in cases:
                sent += 1
                try:
                    got = answer(service, case)
                    if not case.cut:
                        check_answer(case, *got)
                except (AssertionError, OSError, ValueError, http.client.HTTPException) as error:
                    failures.append(f"{group}: {case.name}: {type(error).__name__} {str(error)[:300]}")
                assert health.get(f"{service.url}/healthz", timeout=5).json() == {"status": "alive"}, case.name
            good()
    for kind, memory in memories:
        assert memory.process.is_running(), f"a {kind} died"
        print(f"{kind}: {memory.before} MB, and {memory.growth()} more")
        if memory.growth() > MEGABYTES[kind]:
            failures.append(f"{kind}: {memory.growth()} MB more than {memory.before}")
    print(f"{sent} requests")
    assert not failures, "\n".join(failures)
    assert sent >= 400
