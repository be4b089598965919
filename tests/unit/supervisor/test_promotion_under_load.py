"""A new model while requests flow: the real supervisor and gateway, and a small server in place of TorchServe."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from api.archive import ARCHIVE
from gateway.settings import Settings
from supervisor import service
from supervisor.processes import free_port, free_ports_in_a_row, start
from supervisor.promotion import PREVIOUS, PromotionError, promote
from supervisor.runtime import find_service
from supervisor.service import running_service
from supervisor.shutdown import StopSignal
from tests.unit.supervisor.test_promotion import put

TORCHSERVE = """
import http.server, json, os, pathlib, sys

if os.path.exists("torchserve.log"):  # as log4j2.xml has it
    os.replace("torchserve.log", "torchserve.1.log")
version = pathlib.Path(sys.argv[2]).read_text()
with open("torchserve.log", "w") as log:
    if version != "broken":
        log.write("A long log of a server that works.\\n" * 100)
    else:
        log.write("W-9000 MODEL_LOG - handler.model.checkpoint.CheckpointError: it is damaged\\n")
        log.write("Backend worker process died.\\n" * 2)

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        answer = {"success": True, "prediction": "Melanoma", "probability": 0.5, "explain": None}
        body = json.dumps(answer | {"details": {"model": {"version": version}}}).encode()
        self.send_response(503 if version == "broken" else 200)
        self.send_header("x-mlbio-answer", "1")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def start_torchserve(settings: Settings, store: Path, logs: Path, runtime: Path) -> subprocess.Popen[bytes]:
    port = urlsplit(settings.torchserve_url).port
    command = [sys.executable, "-c", TORCHSERVE, str(port), str((store / ARCHIVE).resolve())]
    return start(command, {}, logs, logs / "torchserve.out")


class Load:
    """Clients that ask all the time, and what they are answered."""

    def __init__(self, url: str) -> None:
        self.answers: Counter[str] = Counter()
        self._url = url

    async def _ask(self, client: httpx.AsyncClient) -> None:
        body = {"image": base64.b64encode(b"photograph").decode(), "details": True}
        while True:
            response = await client.post(f"{self._url}/predict", json=body)
            ok = response.status_code == 200
            self.answers[response.json()["details"]["model"]["version"] if ok else response.text] += 1
            await asyncio.sleep(0.05)

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[Counter[str]]:
        self.answers.clear()
        async with httpx.AsyncClient(timeout=120, trust_env=False) as client:
            tasks = [asyncio.create_task(self._ask(client)) for _ in range(2)]
            await asyncio.sleep(0.5)
            yield self.answers
            await asyncio.sleep(0.5)
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(result, asyncio.CancelledError), "a request failed"


def test_no_request_is_lost_with_a_model_that_works_or_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = tmp_path / "store"
    put(store, b"old")
    settings = Settings(
        port=free_port(), torchserve_url=f"http://127.0.0.1:{free_ports_in_a_row(3)}", hold_seconds=100.0
    )
    monkeypatch.setattr(service, "start_torchserve", start_torchserve)

    async def scenario() -> None:
        async with running_service(settings, store, tmp_path / "logs", StopSignal()):
            found, load = find_service(settings), Load(settings.url)
            assert found is not None

            async with load.flowing() as answers:
                await asyncio.to_thread(promote, put(store / "next/a", b"new"), found, settings, print)
            assert set(answers) == {"old", "new"} and (store / PREVIOUS / ARCHIVE).read_text() == "old"

            async with load.flowing() as answers:
                with pytest.raises(PromotionError, match="(?s)it is damaged.*is restored, and predicts"):
                    await asyncio.to_thread(promote, put(store / "next/b", b"broken"), found, settings, print)
            assert set(answers) == {"new"} and (store / ARCHIVE).read_text() == "new"
            assert (store / PREVIOUS / ARCHIVE).read_text() == "old"

    with tempfile.TemporaryDirectory(prefix="mlbio-t-") as temporary:  # a short name, as sockets need
        monkeypatch.setattr(tempfile, "tempdir", temporary)
        asyncio.run(scenario())
