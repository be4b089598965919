"""Replacing an archive, and what a promotion that fails leaves; test_promotion_under_load.py has a whole service."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.archive import ARCHIVE, PROMOTED, verify
from gateway.settings import Settings
from supervisor import promotion
from supervisor.promotion import PREVIOUS, PromotionError, hold_requests, promote, promotion_lock, replace_archive
from supervisor.runtime import RunningTorchServe, runtime_folder, write_record

SETTINGS = Settings(port=18089)


def put(folder: Path, content: bytes) -> Path:
    """Write an archive and its checksum; either may be linked to another."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / ARCHIVE
    archive.unlink(missing_ok=True)
    archive.write_bytes(content)
    (folder / f"{ARCHIVE}.sha256").unlink(missing_ok=True)
    (folder / f"{ARCHIVE}.sha256").write_text(f"{hashlib.sha256(content).hexdigest()}  {ARCHIVE}\n")
    return archive


def files(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def replace(archive: Path, store: Path) -> None:
    with replace_archive(archive, store):
        pass


def test_the_archive_before_is_kept_and_both_are_whole(tmp_path: Path):
    served, previous = put(tmp_path, b"one"), tmp_path / PREVIOUS / ARCHIVE
    for before, content in ((b"one", b"two"), (b"two", b"three")):
        replace(put(tmp_path / "next", content), tmp_path)
        assert (served.read_bytes(), previous.read_bytes()) == (content, before)
        assert verify(served) and verify(previous)
    assert {path.name for path in tmp_path.iterdir()} == {ARCHIVE, f"{ARCHIVE}.sha256", "next", PREVIOUS, PROMOTED}


def test_going_back_twice_changes_nothing(tmp_path: Path):
    served, previous = put(tmp_path, b"new"), put(tmp_path / PREVIOUS, b"old")
    for contents in ((b"old", b"new"), (b"new", b"old")):
        replace(previous, tmp_path)
        assert (served.read_bytes(), previous.read_bytes()) == contents and verify(served) and verify(previous)


def test_a_full_disk_changes_nothing_whenever_it_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each step that writes fails once; restoring then works, as it needs no space."""
    put(tmp_path, b"served"), put(tmp_path / PREVIOUS, b"previous")
    archive = put(tmp_path / "next", b"new")
    before = files(tmp_path)
    calls, failing = 0, 0

    def full(call):
        def wrapped(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls == failing:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return call(*arguments, **options)

        return wrapped

    monkeypatch.setattr(os, "link", full(os.link))
    for name in ("mkdir", "touch", "replace"):
        monkeypatch.setattr(Path, name, full(getattr(Path, name)))
    for step in itertools.count(1):
        calls, failing = 0, step
        try:
            with replace_archive(archive, tmp_path):
                failing = 0  # no step is left
                raise InterruptedError
        except OSError:
            assert files(tmp_path) == before, f"step {step}"
        if failing == 0:
            break
    assert step > 8, "two folders, a marker, two links and renames for each of two archives"


def test_a_previous_archive_that_cannot_be_kept_is_reported(tmp_path: Path):
    put(tmp_path, b"served")
    with pytest.raises(PromotionError, match="is served, but .* could not be kept"):  # noqa: SIM117
        with replace_archive(put(tmp_path / "next", b"new"), tmp_path):
            (tmp_path / PREVIOUS / ARCHIVE).mkdir()
    assert (tmp_path / ARCHIVE).read_bytes() == b"new"


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The temporary folder of a running service whose gateway holds requests."""
    monkeypatch.setattr(promotion, "hold_requests", lambda *_: contextlib.nullcontext())
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        with runtime_folder() as made:
            running = RunningTorchServe(SETTINGS.port, 2**22 + 1, "http://127.0.0.1:1", str(tmp_path), str(tmp_path))
            write_record(made, running)
            yield made


def test_an_interrupted_promotion_goes_back(tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch):
    put(tmp_path, b"served"), put(tmp_path / PREVIOUS, b"previous")
    archive = put(tmp_path / "next", b"new")
    before, restarted = files(tmp_path), []

    def restart(*_: object) -> None:
        restarted.append((tmp_path / ARCHIVE).read_bytes())
        if len(restarted) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(promotion, "restart", restart)
    with pytest.raises(KeyboardInterrupt):
        promote(archive, runtime, SETTINGS, print)
    assert restarted == [b"new", b"served"] and files(tmp_path) == before


def test_a_service_that_is_stopped_meanwhile_starts_again_with_the_archive_before(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
):
    put(tmp_path, b"served")

    def restart(*_: object) -> None:
        runtime.rename(runtime.with_name("stopped"))
        raise promotion.ServeError("the service was stopped")

    monkeypatch.setattr(promotion, "restart", restart)
    with pytest.raises(PromotionError, match="the service was stopped: the previous archive will be served again"):
        promote(put(tmp_path / "next", b"new"), runtime, SETTINGS, print)
    assert (tmp_path / ARCHIVE).read_bytes() == b"served"


@pytest.mark.parametrize("checksum", [None, "0" * 64 + f"  {ARCHIVE}\n"])
def test_an_archive_without_its_checksum_is_refused(tmp_path: Path, runtime: Path, checksum: str | None):
    archive = put(tmp_path / "next", b"two")
    file = archive.with_name(f"{ARCHIVE}.sha256")
    file.write_text(checksum) if checksum else file.unlink()
    with pytest.raises((PromotionError, OSError), match="checksum|damaged"):
        promote(archive, runtime, SETTINGS, print)
    assert not (tmp_path / ARCHIVE).exists()


def test_another_model_store_than_the_services_is_refused(tmp_path: Path, runtime: Path):
    with tempfile.TemporaryDirectory() as other, pytest.raises(PromotionError, match="--model-store"):
        promote(put(Path(other), b"two"), runtime, SETTINGS, print)


def test_a_gateway_that_has_ended_is_reported(tmp_path: Path):
    with pytest.raises(PromotionError, match="cannot hold"), hold_requests(tmp_path / "socket", 1):
        pass


def test_one_promotion_at_a_time(tmp_path: Path):
    with promotion_lock(tmp_path), pytest.raises(PromotionError, match="running"), promotion_lock(tmp_path):
        pass
    with promotion_lock(tmp_path):
        pass
