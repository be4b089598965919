"""Temporary folders of servers."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from supervisor.scratch import PREFIX, scratch_folder

KILLED = """
import os, signal, tempfile
tempfile.tempdir = {folder!r}
from supervisor.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "file").write_text("x")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_what_a_killed_server_left_is_deleted_and_what_is_used_is_not(tmp_path: Path):
    subprocess.run([sys.executable, "-c", KILLED.format(folder=str(tmp_path))], check=False)
    (abandoned,) = tmp_path.iterdir()
    assert abandoned.name.startswith(PREFIX)
    with scratch_folder() as first:
        assert not abandoned.exists()
        with scratch_folder() as second:
            assert first.is_dir() and second.is_dir() and first != second
        assert first.is_dir() and not second.exists()
    assert not list(tmp_path.iterdir())


def test_links_and_other_names_stay(tmp_path: Path):
    (tmp_path / "other").mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "other")
    with scratch_folder():
        pass
    assert (tmp_path / "other").is_dir() and (tmp_path / f"{PREFIX}link").is_symlink()
