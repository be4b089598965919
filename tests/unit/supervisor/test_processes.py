"""Child processes: started, restarted, stopped with their children, and ended with their parent."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from supervisor import processes
from supervisor.exit_with_parent import exits_with_parent
from supervisor.processes import Watchdog, start, stop

PARENT = """
import signal, subprocess, sys, time
{ignore}
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""
IGNORE = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"

KILLED_PARENT = """
import signal, subprocess, sys, time
from supervisor.exit_with_parent import exits_with_parent
sleep = [sys.executable, "-c", "import time; print('started', flush=True); time.sleep(60)"]
child = subprocess.Popen(exits_with_parent(sleep, signal.SIGKILL), stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("ignore", ["", IGNORE], ids=["ends on SIGTERM", "ignores SIGTERM"])
def test_a_process_is_stopped_with_all_its_children(ignore: str):
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(ignore=ignore)], stdout=subprocess.PIPE, start_new_session=True
    )
    child = psutil.Process(int(process.stdout.readline()))
    asyncio.run(stop(process, 0.5))
    assert process.returncode is not None
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    process.stdout.close()
    asyncio.run(stop(process))  # one that has ended already does no harm


def test_a_restarted_process_does_not_erase_the_last_output_of_the_one_before(tmp_path: Path):
    output = tmp_path / "process.out"
    for word in ("first", "second"):
        start(["echo", word], dict(os.environ), tmp_path, output).wait(10)
    assert output.read_text() == "first\nsecond\n"


def test_a_process_that_ends_or_cannot_be_started_is_tried_again_with_longer_pauses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setattr(processes, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(processes, "LONGEST_PAUSE", 0.4)
    started: list[float] = []

    def start() -> subprocess.Popen:
        started.append(time.monotonic())
        if len(started) in (2, 3):
            raise OSError("no memory")
        code = "import time; time.sleep(60)" if len(started) == 5 else "exit(3)"
        return subprocess.Popen([sys.executable, "-c", code], start_new_session=True)

    async def run() -> None:
        watchdog = Watchdog("gateway", start, stop_seconds=5)
        watchdog.watch()
        while len(started) < 5:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)
        assert watchdog.process is not None and watchdog.process.poll() is None
        await watchdog.stop()
        assert watchdog.process.poll() is not None and len(started) == 5

    asyncio.run(run())
    pauses = [later - earlier for earlier, later in zip(started, started[1:], strict=False)]
    assert all(pause >= least for pause, least in zip(pauses, (0.2, 0.4, 0.4, 0.4), strict=True))
    printed = capsys.readouterr().out
    assert printed.count("gateway ended with exit code 3") == 2 and printed.count("no memory") == 2


def test_a_full_disk_or_a_closed_terminal_is_no_error():
    """Nor does Python fail when it exits and writes what could not be written."""
    code = "from supervisor.processes import print_message; print_message('x'); print_message('y')"
    with Path("/dev/full").open("w") as full:
        assert subprocess.run([sys.executable, "-c", code], stdout=full, check=False).returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_child_ends_with_its_killed_parent():
    parent = subprocess.Popen([sys.executable, "-c", KILLED_PARENT], stdout=subprocess.PIPE)
    child = psutil.Process(int(parent.stdout.readline()))
    assert child.is_running()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    _, alive = psutil.wait_procs([child], timeout=10)
    assert not alive or alive[0].status() == psutil.STATUS_ZOMBIE


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_command_whose_parent_has_ended_already_is_not_run():
    command = exits_with_parent(["true"], signal.SIGTERM)
    assert subprocess.run(command, check=False).returncode == 0
    command[4] = "1"  # the parent's process id
    assert subprocess.run(command, check=False).returncode == 1
