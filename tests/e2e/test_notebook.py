"""examples/notebook.ipynb, as committed and run from its first cell to its last."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from api.client import Client
from tests.conftest import ROOT
from tests.e2e.conftest import Service

pytestmark = pytest.mark.slow

PATH = ROOT / "examples/notebook.ipynb"


def test_it_is_committed_without_outputs():
    cells = [cell for cell in nbformat.read(PATH, as_version=4).cells if cell.cell_type == "code"]
    assert len(cells) >= 5
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)


def test_it_runs_and_both_ways_give_the_same_diagnosis(service: Service, tmp_path: Path, monkeypatch):
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("MLBIO_URL", service.url)
    notebook = nbformat.read(PATH, as_version=4)
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": PATH.parent}}
    ).execute()

    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert [o for o in outputs if o.output_type == "stream" and o.name == "stderr"] == []
    printed = [o.text for o in outputs if o.output_type == "stream"]
    pictures = [o for o in outputs if o.output_type == "execute_result" and "image/png" in o.data]
    assert len(pictures) == 2
    with Client(service.url) as client:
        expected = client.predict((ROOT / "examples/drawn_nevus.jpg").read_bytes())
    directly, served = printed[0].split(maxsplit=1), printed[-1].strip().rpartition(", ")
    assert directly[1].startswith(expected.prediction) and served[0] == expected.prediction
    for share in (directly[0], served[2]):
        assert float(share.rstrip("%")) == pytest.approx(100 * expected.probability, abs=0.5)
