"""Temporary folders of services: deleted whatever happens, and how a running service is found."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from gateway.settings import Settings
from supervisor.runtime import PREFIX, RunningTorchServe, find_service, runtime_folder, write_record

SETTINGS = Settings(port=18089)
RUNNING = RunningTorchServe(18089, 1, "http://127.0.0.1:1", "/store", "/logs")

KILLED = """
import os, signal, tempfile
tempfile.tempdir = {folder!r}
from supervisor.runtime import runtime_folder
with runtime_folder() as folder:
    (folder / "file").write_text("x")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_what_a_killed_service_left_is_deleted_and_what_is_used_is_not(tmp_path: Path):
    subprocess.run([sys.executable, "-c", KILLED.format(folder=str(tmp_path))], check=False)
    (abandoned,) = tmp_path.iterdir()
    assert abandoned.name.startswith(PREFIX)
    with runtime_folder() as first:
        assert not abandoned.exists()
        with runtime_folder() as second:
            assert first.is_dir() and second.is_dir() and first != second
        assert first.is_dir() and not second.exists()
    assert not list(tmp_path.iterdir())


def test_links_and_other_folders_stay(tmp_path: Path):
    (tmp_path / "other").mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "other")
    with runtime_folder():
        pass
    assert (tmp_path / "other").is_dir() and (tmp_path / f"{PREFIX}link").is_symlink()


def test_a_running_service_is_found_by_its_port():
    with runtime_folder() as folder:
        assert find_service(SETTINGS) is None
        write_record(folder, RUNNING)
        assert find_service(SETTINGS) == folder and find_service(Settings(port=18090)) is None


def test_a_killed_service_is_not_found(tmp_path: Path):
    abandoned = tmp_path / f"{PREFIX}killed"
    abandoned.mkdir()
    write_record(abandoned, RUNNING)
    assert find_service(SETTINGS) is None and not abandoned.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_another_users_service_is_not_found():
    with runtime_folder() as folder:
        write_record(folder, RUNNING)
        os.chown(folder, 65534, 65534)
        assert find_service(SETTINGS) is None
