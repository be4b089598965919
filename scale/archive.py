"""Verifying and loading TorchServe's archive ``mlbio.mar`` on each node."""

from __future__ import annotations

import json
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from api.archive import ArchiveError, verify
from handler.engines.graphs import GraphsError, sha256
from handler.predictor import Predictor

MANIFEST = "MAR-INF/MANIFEST.json"


@dataclass(frozen=True)
class Archive:
    """An archive that every node has at the same path.

    Attributes:
        path: absolute.
        sha256: of the file; a node refuses any other file.
    """

    path: str
    sha256: str

    @classmethod
    def at(cls, path: Path) -> Archive:
        """The archive at ``path`` as it is now.

        Raises:
            api.archive.ArchiveError: it is missing, or does not match its checksum.
        """
        if not path.is_file():
            raise ArchiveError(f"{path} is missing: make it with `make archive`")
        verify(path)
        return cls(str(path.resolve()), sha256(path))

    def load(self, threads: int | None = None) -> Predictor:
        """A predictor with the archive's graphs that uses ``threads`` threads (default: all cores).

        Raises:
            api.archive.ArchiveError: this node's file is missing, differs, or has no model.
        """
        path = Path(self.path)
        if not path.is_file():
            raise ArchiveError(f"{path} is missing on this node: copy it there")
        if sha256(path) != self.sha256:
            raise ArchiveError(f"{path} on this node is not the archive that was deployed: copy it there again")
        with tempfile.TemporaryDirectory(prefix="mlbio-archive-") as folder:
            try:
                with zipfile.ZipFile(path) as archive:
                    checkpoint = str(json.loads(archive.read(MANIFEST))["model"]["serializedFile"])
                    archive.extractall(folder)
                return Predictor.from_graphs(Path(folder), Path(folder, checkpoint), threads)
            except (zipfile.BadZipFile, KeyError, ValueError, TypeError, GraphsError) as error:
                raise ArchiveError(f"{path} is not an archive of `make archive` ({error})") from None
