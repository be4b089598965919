"""Starting the service: what is refused at once, and exit codes."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from api.archive import ARCHIVE
from gateway.settings import Settings
from supervisor import __main__, service
from supervisor.__main__ import main
from supervisor.processes import free_port
from supervisor.service import refuse_open_torchserve, warn
from supervisor.startup import ServeError, is_ready


@pytest.fixture(autouse=True)
def keep_signal_handlers():
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_a_taken_port_of_the_page_is_said_before_anything_starts(tmp_path: Path, capsys, monkeypatch):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        monkeypatch.setenv("MLBIO_PAGE_PORT", str(holder.getsockname()[1]))
        assert main(["--page", "--logs", str(tmp_path / "logs")]) == 1
    said = capsys.readouterr()
    assert "MLBIO_PAGE_PORT" in said.err and said.err.count("\n") == 1
    assert said.out == "" and not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"status":"ready"}', True),
        (200, b'{"status":"alive"}', False),
        (200, b"<html>another program</html>", False),
        (200, b"\xff", False),
        (503, b'{"success":false,"error":"no"}', False),
    ],
)
def test_only_our_own_readiness_counts(status: int, body: bytes, expected: bool):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert asyncio.run(is_ready(Settings(port=server.server_port))) is expected


def test_nobody_is_not_ready():
    assert asyncio.run(is_ready(Settings(port=free_port()))) is False


def test_a_missing_archive_is_said(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main(["--model-store", str(tmp_path)]) == 1
    assert f"{ARCHIVE} is missing" in capsys.readouterr().err


def answering(ready: bool) -> Callable:
    async def is_ready(settings: Settings) -> bool:
        return ready

    return is_ready


@pytest.mark.parametrize(("options", "code"), [([], 0), (["--run", "sleep"], 130)])
def test_an_interrupted_command_has_failed(monkeypatch: pytest.MonkeyPatch, options: list[str], code: int):
    @contextlib.asynccontextmanager
    async def interrupted(*_: object):
        signal.raise_signal(signal.SIGINT)
        yield

    monkeypatch.setattr(__main__, "is_ready", answering(False))
    monkeypatch.setattr(__main__, "running", interrupted)
    assert main(options) == code


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_is_the_commands(monkeypatch: pytest.MonkeyPatch, code: int):
    monkeypatch.setattr(__main__, "is_ready", answering(True))
    assert main(["--run", "sh", "-c", f'test -n "$MLBIO_URL" && exit {code}']) == code


def test_an_archive_that_was_replaced_is_not_started(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch):
    def start(*_: object):
        raise AssertionError("it was started")

    monkeypatch.setattr(service, "start_torchserve", start)
    monkeypatch.setenv("MLBIO_PORT", str(free_port()))
    monkeypatch.setenv("MLBIO_TORCHSERVE_URL", f"http://127.0.0.1:{free_port()}")
    (tmp_path / ARCHIVE).write_bytes(b"another archive")
    (tmp_path / f"{ARCHIVE}.sha256").write_text("0" * 64 + f"  {ARCHIVE}\n")
    assert main(["--model-store", str(tmp_path), "--logs", str(tmp_path / "logs")]) == 1
    said = capsys.readouterr()
    assert "damaged or replaced" in said.err and "warning" not in said.out


@pytest.mark.parametrize("host", ["0.0.0.0", "203.0.113.7", "[::]", "nowhere.invalid"])
def test_torchserve_listens_on_loopback_alone(host: str):
    with pytest.raises(ServeError, match="MLBIO_TORCHSERVE_URL"):
        refuse_open_torchserve(Settings(torchserve_url=f"http://{host}:8080"))


def test_torchserve_may_be_called_localhost():
    refuse_open_torchserve(Settings(torchserve_url="http://localhost:8080"))


def test_keys_that_cannot_be_read_are_said_before_anything_starts(tmp_path: Path, capsys, monkeypatch):
    (tmp_path / ARCHIVE).touch()
    monkeypatch.setenv("MLBIO_API_KEYS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("MLBIO_PORT", str(free_port()))
    monkeypatch.setenv("MLBIO_TORCHSERVE_URL", f"http://127.0.0.1:{free_port()}")
    assert main(["--model-store", str(tmp_path), "--logs", str(tmp_path)]) == 1
    assert "MLBIO_API_KEYS_FILE" in capsys.readouterr().err


def test_what_is_seldom_meant_is_said(tmp_path: Path, capsys: pytest.CaptureFixture):
    warn(Settings(host="0.0.0.0"), tmp_path)
    assert "checksum" in capsys.readouterr().out
    (tmp_path / f"{ARCHIVE}.sha256").touch()
    warn(Settings(host="0.0.0.0"), tmp_path)
    assert "MLBIO_API_KEYS_FILE" in capsys.readouterr().out
    warn(Settings(), tmp_path)
    warn(Settings(host="0.0.0.0", api_keys_file="keys"), tmp_path)
    assert capsys.readouterr().out == ""
