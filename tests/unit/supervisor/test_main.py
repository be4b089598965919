"""``python -m supervisor``: exit codes, and what is printed where it cannot start."""

from __future__ import annotations

import contextlib
import signal
import socket
from pathlib import Path
from unittest.mock import AsyncMock

import pytest

from api.archive import ARCHIVE
from supervisor import __main__, service
from supervisor.__main__ import main
from supervisor.processes import free_port
from supervisor.shutdown import SIGNALS


@pytest.fixture(autouse=True)
def keep_signal_handlers():
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


def test_a_taken_port_of_the_page_is_reported_before_anything_starts(tmp_path: Path, capsys, monkeypatch):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        monkeypatch.setenv("MLBIO_PAGE_PORT", str(holder.getsockname()[1]))
        assert main(["--page", "--logs", str(tmp_path / "logs")]) == 1
    printed = capsys.readouterr()
    assert "MLBIO_PAGE_PORT" in printed.err and printed.err.count("\n") == 1
    assert printed.out == "" and not (tmp_path / "logs").exists()


def test_an_archive_that_was_replaced_is_not_started(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch):
    monkeypatch.setattr(service, "start_torchserve", lambda *_: pytest.fail("it was started"))
    monkeypatch.setenv("MLBIO_PORT", str(free_port()))
    monkeypatch.setenv("MLBIO_TORCHSERVE_URL", f"http://127.0.0.1:{free_port()}")
    (tmp_path / ARCHIVE).write_bytes(b"another archive")
    (tmp_path / f"{ARCHIVE}.sha256").write_text("0" * 64 + f"  {ARCHIVE}\n")
    assert main(["--model-store", str(tmp_path), "--logs", str(tmp_path / "logs")]) == 1
    printed = capsys.readouterr()
    assert "damaged or replaced" in printed.err and "warning" not in printed.out


@pytest.mark.parametrize(("options", "code"), [([], 0), (["--run", "sleep"], 130)])
def test_an_interrupted_command_has_failed(monkeypatch: pytest.MonkeyPatch, options: list[str], code: int):
    @contextlib.asynccontextmanager
    async def interrupted(*_: object):
        signal.raise_signal(signal.SIGINT)
        yield

    monkeypatch.setattr(__main__, "is_ready", AsyncMock(return_value=False))
    monkeypatch.setattr(__main__, "running_service", interrupted)
    assert main(options) == code


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_is_the_commands(monkeypatch: pytest.MonkeyPatch, code: int):
    monkeypatch.setattr(__main__, "is_ready", AsyncMock(return_value=True))
    assert main(["--run", "sh", "-c", f'test -n "$MLBIO_URL" && exit {code}']) == code
