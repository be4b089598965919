"""Commands that end when their parent does."""

from __future__ import annotations

import signal
import subprocess
import sys

import psutil
import pytest

from supervisor.tether import tethered

PARENT = """
import signal, subprocess, sys, time
from supervisor.tether import tethered
child = subprocess.Popen(tethered([sys.executable, "-c", "import time; print('here', flush=True); time.sleep(60)"],
                                  signal.SIGKILL), stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_child_ends_with_its_killed_parent():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    child = psutil.Process(int(parent.stdout.readline()))
    assert child.is_running()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    gone, alive = psutil.wait_procs([child], timeout=5)
    assert gone or alive[0].status() == psutil.STATUS_ZOMBIE


def test_the_command_runs_as_the_process_that_was_started():
    command = tethered([sys.executable, "-c", "import os; print(os.getpid())"], signal.SIGTERM)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert int(process.communicate()[0]) == process.pid and process.returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_parent_that_has_ended_already_is_noticed():
    command = tethered(["true"], signal.SIGTERM)
    command[4] = "1"
    assert subprocess.run(command, check=False).returncode == 1
