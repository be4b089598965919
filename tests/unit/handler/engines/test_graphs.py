"""Graphs as they are saved and loaded, with random weights."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from handler.engines.classifier import Classifier, has_bfloat16
from handler.engines.convert import facts
from handler.engines.graphs import INDEX, Arithmetic, Graphs, GraphsError, ModelFacts, compile_graph, ov
from handler.engines.saturation import convolution
from handler.model.calibration import BiasSetting, FlagFigures
from handler.model.checkpoint import Checkpoint
from tests.conftest import ROOT
from tests.unit.test_packaging import PACKAGES


@pytest.mark.parametrize("arithmetic", ["float32", "bfloat16"])
def test_a_graph_is_compiled_in_the_given_arithmetic(arithmetic: Arithmetic):
    """A CPU without bfloat16 computes in float32."""
    compiled = compile_graph(convolution(np.ones((1, 1, 1, 1)), 1), arithmetic)
    expected = ov.Type.bf16 if arithmetic == "bfloat16" and has_bfloat16() else ov.Type.f32
    assert compiled.get_property(ov.properties.hint.inference_precision) == expected


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


def test_the_flags_figures_and_the_curve_are_found_beside_the_checkpoint(saved: Path, exported: Path, tmp_path: Path):
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


def test_the_facts_have_the_checkpoints_thresholds(saved: Path):
    checkpoint = replace(Checkpoint.load(saved), malignant_threshold=0.1, plausible_threshold=0.2)
    found = facts(saved, checkpoint)
    assert (found.malignant_threshold, found.plausible_threshold) == (0.1, 0.2)


def test_an_index_of_an_older_version_has_no_threshold_of_sets():
    older = b'{"sha256": "0", "classes": ["nv"], "malignant_threshold": 0.1, "epoch": 1, "biases": [{"strength": 0.5,\
        "exponent": 1.0, "offsets": {"nv": 0.0}, "malignant_threshold": 0.1}]}'
    found = msgspec.json.decode(older, type=ModelFacts)
    assert found.plausible_threshold is None and found.biases[0].plausible_threshold is None


def test_graphs_are_loaded_without_torch(saved: Path, exported: Path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom handler.predictor import Predictor\n"
        "Predictor.from_graphs(*map(Path, sys.argv[1:]))\n"
        "assert not {'torch', 'sklearn', 'skimage', 'lime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, exported, saved], cwd=ROOT, check=True, timeout=120)


def test_graphs_of_another_checkpoint_are_refused(exported: Path, tmp_path: Path):
    other = tmp_path / "other.pth"
    other.write_bytes(b"other")
    with pytest.raises(GraphsError, match=r"another checkpoint than other\.pth"):
        Graphs.load(exported, other)


@pytest.mark.parametrize("damage", ["missing", "changed", "no index", "an index of something else"])
def test_damaged_graphs_are_refused(exported: Path, saved: Path, damage: str, tmp_path: Path):
    copied = tmp_path / "graphs"
    copied.mkdir()
    for file in exported.iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    if damage == "missing":
        (copied / "answers.bin").unlink()
    elif damage == "changed":
        with (copied / "answers.bin").open("r+b") as file:
            file.seek(1000)
            file.write(b"changed")
    elif damage == "no index":
        (copied / INDEX).unlink()
    else:
        (copied / INDEX).write_text("[]")
    with pytest.raises(GraphsError):
        Graphs.load(copied, saved)


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
