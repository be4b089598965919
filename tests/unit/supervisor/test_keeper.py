"""Processes that are started again."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor import keeper
from supervisor.keeper import Keeper, say


def test_a_process_that_ends_or_cannot_be_started_is_tried_again_with_longer_pauses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setattr(keeper, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(keeper, "LONGEST_PAUSE", 0.04)
    started, pauses = 0, []
    sleep = asyncio.sleep

    def start() -> subprocess.Popen:
        nonlocal started
        started += 1
        if started in (2, 3):
            raise OSError("no memory")
        code = "import time; time.sleep(60)" if started == 5 else "exit(3)"
        return subprocess.Popen([sys.executable, "-c", code], start_new_session=True)

    async def noted(seconds: float) -> None:
        if seconds < 0.09:  # not the polling of processes
            pauses.append(seconds)
        await sleep(seconds)

    async def run() -> None:
        monkeypatch.setattr(asyncio, "sleep", noted)
        kept = Keeper("gateway", start, stop_seconds=5)
        task = asyncio.create_task(kept.keep())
        while started < 5:
            await sleep(0.05)
        await sleep(0.2)
        assert kept.process is not None and kept.process.poll() is None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await kept.stop()
        assert kept.process.poll() is not None

    asyncio.run(run())
    assert pauses == [0.02, 0.04, 0.04, 0.04]
    said = capsys.readouterr().out
    assert said.count("gateway ended with exit code 3") == 2 and said.count("no memory") == 2


def test_nobody_reading_is_no_error(tmp_path: Path):
    """Nor does Python fail when it exits and writes what could not be written."""
    code = "from supervisor.keeper import say; say('x'); say('y')"
    with Path("/dev/full").open("w") as full:
        assert subprocess.run([sys.executable, "-c", code], stdout=full, check=False).returncode == 0
    assert say("") is None
