"""The archive on the nodes of a cluster."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from api.archive import ArchiveError
from scale.archive import MANIFEST, Archive


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "mlbio.mar"
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(MANIFEST, json.dumps({"model": {"serializedFile": "model.pth"}}))
    return made


def test_a_missing_archive_or_one_with_another_checksum_is_refused(path: Path):
    path.with_name("mlbio.mar.sha256").write_text(f"{'0' * 64}  mlbio.mar\n")
    with pytest.raises(ArchiveError, match="replaced"):
        Archive.at(path)
    path.unlink()
    with pytest.raises(ArchiveError, match="make archive"):
        Archive.at(path)


def test_a_node_with_other_bytes_does_not_serve_them(path: Path):
    archive = Archive.at(path)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ArchiveError, match="not the archive that was deployed"):
        archive.load()
    path.unlink()
    with pytest.raises(ArchiveError, match="missing on this node"):
        archive.load()


@pytest.mark.parametrize("content", [b"no zip", None], ids=["no zip", "no graphs"])
def test_an_archive_without_a_model_is_refused(path: Path, content: bytes | None):
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArchiveError, match="not an archive of"):
        Archive.at(path).load()
