"""How many threads compute where a container may use fewer cores than it sees."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from handler.engines.cores import thread_limit


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLBIO_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


def limit(folder: Path, own: str, files: dict[str, str]) -> int | None:
    """The limit where these files say what control groups there are."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "own").write_text(own)
    return thread_limit(folder, folder / "own")


ABOVE = {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n", "a/c/cpu.max": "100000 100000\n"}
HOSTS_PATH = "5:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n0::/\n"


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"cpu.max": "900000 100000\n"}, None),
        ("0::/a/b\n", ABOVE, 3),
        (HOSTS_PATH, {"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        (HOSTS_PATH, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
    ],
)
def test_the_lowest_limit_of_a_containers_groups_counts(tmp_path: Path, own: str, files: dict, expected: int | None):
    """In both versions of control groups."""
    assert limit(tmp_path, own, files) == expected
    assert thread_limit(tmp_path, tmp_path / "absent") is None  # not Linux


def test_the_environment_counts_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLBIO_THREADS", "3")
    assert limit(tmp_path, "0::/\n", {"cpu.max": "100000 100000"}) == 3


@pytest.mark.parametrize("word", ["0", "1.5", "²"])
def test_what_is_no_number_of_threads_is_refused(word: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLBIO_THREADS", word)
    with pytest.raises(ValueError, match="MLBIO_THREADS is .*: it must be a whole number above 0"):
        thread_limit()
