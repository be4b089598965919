"""Where archives are put, how a service is found, and what a model that does not work leaves behind."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.archive import ARCHIVE, PROMOTED, verify
from gateway.hold import IDLE
from gateway.settings import Settings
from supervisor import promotion
from supervisor.promotion import (
    PREVIOUS,
    PromotionError,
    Replacement,
    RunningTorchServe,
    find_service,
    hold_socket,
    locked,
    promote,
    record,
)
from supervisor.scratch import scratch_folder
from supervisor.startup import ServeError

SETTINGS = Settings(port=18089)


def put(folder: Path, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    archive = folder / ARCHIVE
    archive.unlink(missing_ok=True)  # it may be linked to another
    archive.write_bytes(content)
    (folder / f"{ARCHIVE}.sha256").unlink(missing_ok=True)
    (folder / f"{ARCHIVE}.sha256").write_text(f"{hashlib.sha256(content).hexdigest()}  {ARCHIVE}\n")
    return archive


def install(archive: Path, store: Path) -> None:
    Replacement(archive, store).commit()


def files(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def test_the_archive_before_is_kept_and_both_are_whole(tmp_path: Path):
    served, previous = put(tmp_path, b"one"), tmp_path / PREVIOUS / ARCHIVE
    for before, content in ((b"one", b"two"), (b"two", b"three")):
        install(put(tmp_path / "next", content), tmp_path)
        assert (served.read_bytes(), previous.read_bytes()) == (content, before)
        assert verify(served) and verify(previous)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ARCHIVE,
        f"{ARCHIVE}.sha256",
        "next",
        PREVIOUS,
        PROMOTED,
    ]


def test_going_back_twice_changes_nothing(tmp_path: Path):
    served, previous = put(tmp_path, b"new"), put(tmp_path / PREVIOUS, b"old")
    for contents in ((b"old", b"new"), (b"new", b"old")):
        install(previous, tmp_path)
        assert (served.read_bytes(), previous.read_bytes()) == contents and verify(served) and verify(previous)


def test_the_first_archive_has_none_before(tmp_path: Path):
    install(put(tmp_path / "next", b"one"), tmp_path)
    assert verify(tmp_path / ARCHIVE) and not (tmp_path / PREVIOUS / ARCHIVE).exists()


def test_what_is_undone_is_as_before(tmp_path: Path):
    put(tmp_path, b"served"), put(tmp_path / PREVIOUS, b"previous")
    archive = put(tmp_path / "next", b"new")
    before = files(tmp_path)
    replacement = Replacement(archive, tmp_path)
    assert (tmp_path / ARCHIVE).read_bytes() == b"new" and verify(tmp_path / ARCHIVE)
    replacement.undo()
    assert files(tmp_path) == before


def test_a_full_disk_changes_nothing_wherever_it_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each step that writes fails once; what is then undone works, as it needs no space."""
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
    while True:
        calls, failing = 0, failing + 1
        try:
            Replacement(archive, tmp_path)
        except OSError:
            assert files(tmp_path) == before, f"step {failing}"
        else:
            break
    assert failing > 8, "two folders, a marker, two links and renames for each of two archives"


class Service:
    """A running service's temporary folder, and its gateway's socket."""

    def __init__(self, scratch: Path, store: Path, idle: bytes = IDLE) -> None:
        self.scratch, self.held = scratch, threading.Event()
        record(scratch, SETTINGS, RunningTorchServe(2**22 + 1, "http://127.0.0.1:1", str(store), str(store)))
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(hold_socket(scratch, SETTINGS)))
        self._server.listen()
        threading.Thread(target=self._hold, args=[idle], daemon=True).start()

    def _hold(self, idle: bytes) -> None:
        connection, _ = self._server.accept()
        with connection:
            connection.sendall(idle)
            self.held.set()
            connection.recv(1)  # until the other side ends
            self.held.clear()


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mlbio-t-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        with scratch_folder() as made:
            yield made


def test_a_model_that_works_is_kept(tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch):
    put(tmp_path, b"served")
    service, restarts = Service(scratch, tmp_path), []

    def restart(folder: Path, settings: Settings) -> None:
        assert service.held.wait(5) and (tmp_path / ARCHIVE).read_bytes() == b"new"
        restarts.append(folder)

    monkeypatch.setattr(promotion, "restart", restart)
    promote(put(tmp_path / "next", b"new"), scratch, SETTINGS, print)
    assert restarts == [scratch] and verify(tmp_path / ARCHIVE)
    assert (tmp_path / PREVIOUS / ARCHIVE).read_bytes() == b"served"


def test_an_archive_that_is_served_but_whose_predecessor_is_lost_is_said(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(replacement: Replacement) -> None:
        raise OSError(errno.EIO, "planted")

    put(tmp_path, b"served")
    Service(scratch, tmp_path)
    monkeypatch.setattr(promotion, "restart", lambda *_: None)
    monkeypatch.setattr(Replacement, "commit", fail)
    with pytest.raises(PromotionError, match="is served, but .* could not be kept: .*planted"):
        promote(put(tmp_path / "next", b"new"), scratch, SETTINGS, print)
    assert (tmp_path / ARCHIVE).read_bytes() == b"new"


@pytest.mark.parametrize("error", [ServeError("it died"), KeyboardInterrupt()], ids=["does not work", "interrupted"])
def test_the_archive_before_is_restored_and_served_while_requests_are_held(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
):
    put(tmp_path, b"served"), put(tmp_path / PREVIOUS, b"previous")
    archive = put(tmp_path / "next", b"new")
    before = files(tmp_path)
    service, restarted = Service(scratch, tmp_path), []

    def restart(folder: Path, settings: Settings) -> None:
        assert service.held.wait(5)
        restarted.append((tmp_path / ARCHIVE).read_bytes())
        if len(restarted) == 1:
            raise error

    monkeypatch.setattr(promotion, "restart", restart)
    expected = PromotionError if isinstance(error, ServeError) else KeyboardInterrupt
    with pytest.raises(expected) as raised:
        promote(archive, scratch, SETTINGS, print)
    assert restarted == [b"new", b"served"] and files(tmp_path) == before
    if expected is PromotionError:
        assert "it died" in str(raised.value) and "the archive before is back, and predicts" in str(raised.value)


@pytest.mark.parametrize("checksum", [None, "0" * 64 + f"  {ARCHIVE}\n"])
def test_an_archive_that_is_not_ours_is_refused(tmp_path: Path, scratch: Path, checksum: str | None):
    Service(scratch, tmp_path)
    archive = put(tmp_path / "next", b"two")
    file = archive.with_name(f"{ARCHIVE}.sha256")
    file.write_text(checksum) if checksum else file.unlink()
    with pytest.raises((PromotionError, OSError), match="checksum|damaged"):
        promote(archive, scratch, SETTINGS, print)
    assert not (tmp_path / ARCHIVE).exists()


def test_another_model_store_than_the_services_is_refused(tmp_path: Path, scratch: Path):
    Service(scratch, tmp_path / "store")
    with pytest.raises(PromotionError, match="--model-store"):
        promote(put(tmp_path / "next", b"two"), scratch, SETTINGS, print)


def test_a_gateway_that_ends_meanwhile_changes_nothing(tmp_path: Path, scratch: Path):
    put(tmp_path, b"served")
    Service(scratch, tmp_path, idle=b"")
    archive = put(tmp_path / "next", b"two")
    hold_socket(scratch, SETTINGS).unlink()
    with pytest.raises(PromotionError, match="cannot hold"):
        promote(archive, scratch, SETTINGS, print)
    assert (tmp_path / ARCHIVE).read_bytes() == b"served"


def test_a_running_service_is_found_by_its_port(scratch: Path, tmp_path: Path):
    assert find_service(SETTINGS) is None
    Service(scratch, tmp_path)
    assert find_service(SETTINGS) == scratch and find_service(Settings(port=18090)) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_service_of_another_user_is_not_found(scratch: Path, tmp_path: Path):
    Service(scratch, tmp_path)
    os.chown(scratch, 65534, 65534)
    assert find_service(SETTINGS) is None


def test_a_service_that_was_killed_is_not_found(scratch: Path, tmp_path: Path):
    abandoned = scratch.with_name(f"{scratch.name}-killed")
    abandoned.mkdir()
    record(abandoned, SETTINGS, RunningTorchServe(1, "http://127.0.0.1:1", str(tmp_path), str(tmp_path)))
    assert find_service(SETTINGS) is None and not abandoned.exists()


def test_one_promotion_at_a_time(tmp_path: Path):
    with locked(tmp_path), pytest.raises(PromotionError, match="under way"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass
