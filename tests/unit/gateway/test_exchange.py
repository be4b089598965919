"""Where archives are put, and what is refused before a second TorchServe starts."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from gateway import exchange
from gateway.archive import verify
from gateway.exchange import PREVIOUS, Exchange, ExchangeError, install
from gateway.processes import ARCHIVE
from gateway.settings import Settings


def put(folder: Path, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    archive = folder / ARCHIVE
    archive.write_bytes(content)
    (folder / f"{ARCHIVE}.sha256").write_text(f"{hashlib.sha256(content).hexdigest()}  {ARCHIVE}\n")
    return archive


def test_the_archive_before_is_kept_and_both_are_whole(tmp_path: Path):
    served = put(tmp_path, b"one")
    install(put(tmp_path / "next", b"two"), tmp_path)
    previous = tmp_path / PREVIOUS / ARCHIVE
    assert (served.read_bytes(), previous.read_bytes()) == (b"two", b"one")
    assert verify(served) and verify(previous)
    install(put(tmp_path / "next", b"three"), tmp_path)
    assert (served.read_bytes(), previous.read_bytes()) == (b"three", b"two")
    assert list((tmp_path / "next").iterdir()) == []


def test_going_back_twice_changes_nothing(tmp_path: Path):
    served, previous = put(tmp_path, b"new"), put(tmp_path / PREVIOUS, b"old")
    install(previous, tmp_path)
    assert (served.read_bytes(), previous.read_bytes()) == (b"old", b"new") and verify(served) and verify(previous)
    install(previous, tmp_path)
    assert (served.read_bytes(), previous.read_bytes()) == (b"new", b"old") and verify(served) and verify(previous)


def test_the_first_archive_has_none_before(tmp_path: Path):
    install(put(tmp_path / "next", b"one"), tmp_path)
    assert verify(tmp_path / ARCHIVE) and not (tmp_path / PREVIOUS / ARCHIVE).exists()


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Exchange:
    monkeypatch.setattr(exchange, "start_torchserve", lambda *_: None)
    put(tmp_path, b"served")
    return Exchange(Settings(), tmp_path, tmp_path / "logs", tmp_path)


@pytest.mark.parametrize("checksum", [None, "0" * 64 + f"  {ARCHIVE}\n"])
def test_an_archive_that_is_not_ours_is_refused(running: Exchange, tmp_path: Path, checksum: str | None):
    archive = put(tmp_path / "next", b"two")
    beside = archive.with_name(f"{ARCHIVE}.sha256")
    beside.write_text(checksum) if checksum else beside.unlink()
    with pytest.raises(ExchangeError, match="checksum|damaged"):
        asyncio.run(running.change(archive, "two", print))
    assert (tmp_path / ARCHIVE).read_bytes() == b"served" and len(running.keepers) == 1
    assert not (tmp_path / "logs").exists()


def test_one_change_at_a_time(running: Exchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async def scenario() -> None:
        waits = asyncio.Event()

        async def wait(*_: object, **__: object) -> None:
            await waits.wait()
            raise exchange.ServeError("it died")

        monkeypatch.setattr(exchange, "wait_until_ready", wait)
        first = asyncio.create_task(running.change(put(tmp_path / "next", b"two"), "two", print))
        await asyncio.sleep(0.05)
        with pytest.raises(ExchangeError, match="under way"):
            await running.change(put(tmp_path / "next", b"two"), "two", print)
        waits.set()
        with pytest.raises(ExchangeError, match="it died"):
            await first

    asyncio.run(scenario())
    assert (tmp_path / ARCHIVE).read_bytes() == b"served" and len(running.keepers) == 1
