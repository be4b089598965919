"""The archive's checksum."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from api.archive import ArchiveError, verify


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "mlbio.mar"
    path.write_bytes(b"an archive")
    digest = hashlib.sha256(b"an archive").hexdigest()
    (tmp_path / "mlbio.mar.sha256").write_text(f"{digest}  mlbio.mar\n")
    return path


def test_an_archive_that_agrees_is_verified(archive: Path):
    assert verify(archive) is True
    subprocess.run(["sha256sum", "--check", "--quiet", "mlbio.mar.sha256"], cwd=archive.parent, check=True)


def test_an_archive_that_was_replaced_is_refused(archive: Path):
    archive.write_bytes(b"an archivf")
    with pytest.raises(ArchiveError, match="make archive"):
        verify(archive)


@pytest.mark.parametrize("text", ["", "0" * 64, "0" * 64 + "  other.mar\n", "x" * 64 + "  mlbio.mar\n"])
def test_a_checksum_of_something_else_is_refused(archive: Path, text: str):
    archive.with_name("mlbio.mar.sha256").write_text(text)
    with pytest.raises(ArchiveError, match="make archive"):
        verify(archive)


def test_without_a_checksum_nothing_is_verified(archive: Path):
    archive.with_name("mlbio.mar.sha256").unlink()
    assert verify(archive) is False
