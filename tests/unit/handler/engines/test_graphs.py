"""Graphs as they are saved and loaded, with random weights."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from handler.engines.classifier import Classifier
from handler.engines.convert import facts
from handler.engines.graphs import INDEX, Graphs, GraphsError
from handler.model.calibration import BiasSetting, FlagFigures
from handler.model.checkpoint import Checkpoint
from tests.conftest import ROOT
from tests.unit.test_packaging import PACKAGES


def test_nothing_else_compiles_a_graph():
    """OpenVINO's own functions choose the arithmetic by the CPU unless it is stated."""
    folders = [ROOT / name for name in (*PACKAGES, "deploy", "docs", "examples", "tests")]
    files = [f for folder in folders for f in folder.rglob("*") if f.suffix in (".py", ".ipynb", ".md", ".sh")]
    found = [str(f.relative_to(ROOT)) for f in files for _ in re.findall(r"\bcompile[_]model\b", f.read_text())]
    assert found == ["handler/engines/graphs.py"]


def test_loaded_graphs_answer_as_the_checkpoint(saved: Path, exported: Path, squares: np.ndarray):
    graphs, model = Graphs.load(exported, saved)
    loaded = Classifier(graphs, arithmetic="float32", classes=model.classes)
    converted = Classifier(Checkpoint.load(saved), arithmetic="float32")
    assert loaded.classes == converted.classes
    for ours, theirs in zip(loaded.assess(squares), converted.assess(squares), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_flags_figures_and_the_curve_are_found_next_to_the_checkpoint(saved: Path, exported: Path, tmp_path: Path):
    graphs, model = Graphs.load(exported, saved)
    flag = FlagFigures(0.95, 0.32)
    bias = BiasSetting(0.6, 0.8, dict.fromkeys(model.classes, 0.5), 0.1, flag, 0.05)
    graphs.save(tmp_path, msgspec.structs.replace(model, flag=flag, biases=[bias]))
    unpacked = tmp_path / saved.name
    unpacked.write_bytes(saved.read_bytes())
    known, unknown = (facts(path, Checkpoint.load(path)) for path in (unpacked, saved))
    assert known.flag == flag and known.biases == [bias]
    assert unknown.flag is None and unknown.biases == []
    assert Graphs.load(tmp_path, unpacked)[1] == known


def test_graphs_are_loaded_without_torch(saved: Path, exported: Path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom handler.predictor import Predictor\n"
        "Predictor.from_graphs(*map(Path, sys.argv[1:]))\n"
        "assert not {'torch', 'sklearn', 'skimage', 'lime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, exported, saved], cwd=ROOT, check=True, timeout=120)


@pytest.mark.parametrize("damage", ["missing", "changed", "of something else", "of another checkpoint"])
def test_damaged_graphs_are_refused(exported: Path, saved: Path, damage: str, tmp_path: Path):
    copied = tmp_path / "graphs"
    shutil.copytree(exported, copied)
    checkpoint = saved
    if damage == "missing":
        (copied / "answers.bin").unlink()
    elif damage == "changed":
        with (copied / "answers.bin").open("r+b") as file:
            file.seek(1000)
            file.write(b"changed")
    elif damage == "of something else":
        (copied / INDEX).write_text("[]")
    else:
        checkpoint = tmp_path / "other.pth"
        checkpoint.write_bytes(b"other")
    with pytest.raises(GraphsError):
        Graphs.load(copied, checkpoint)


def test_a_signal_after_the_model_has_gone_is_handled(saved: Path, exported: Path):
    code = """
import gc, signal, sys, threading
from pathlib import Path
from handler.engines.classifier import Classifier
from handler.engines.graphs import Graphs
graphs, model = Graphs.load(Path(sys.argv[1]), Path(sys.argv[2]))
held = [Classifier(graphs, arithmetic="float32", classes=model.classes)]
del graphs
thread = threading.Thread(target=lambda: (held.clear(), gc.collect()))
thread.start()
thread.join()
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
signal.raise_signal(signal.SIGTERM)
"""
    command = [sys.executable, "-X", "faulthandler", "-c", code, str(exported), str(saved)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (finished.returncode, finished.stdout) == (0, "handled\n"), finished.stderr
