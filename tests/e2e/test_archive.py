"""The archive: the same bytes for the same inputs, and all of handler/ in it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from api.archive import verify
from api.request import Request
from handler.model.calibration import BIAS_VARIABLE, BiasError
from handler.predictor import Predictor
from tests.conftest import ROOT
from train.archive import main


def archive(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "train/archive.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "mlbio.mar"
    finished = archive("--output", path)
    assert finished.returncode == 0, finished.stderr
    return path


def test_same_inputs_same_bytes(made: Path, tmp_path: Path):
    assert archive("--output", tmp_path / "mlbio.mar").returncode == 0
    digests = {hashlib.sha256(p.read_bytes()).hexdigest() for p in (made, tmp_path / "mlbio.mar")}
    assert len(digests) == 1


def test_it_holds_the_handler_the_protocol_and_the_weights(made: Path, tmp_path: Path):
    with zipfile.ZipFile(made) as content:
        names = {n for n in content.namelist() if n.endswith((".py", ".pth", ".json"))}
        manifest = json.loads(content.read("MAR-INF/MANIFEST.json"))
        content.extractall(tmp_path)
    modules = {str(p.relative_to(ROOT)) for package in ("handler", "api") for p in (ROOT / package).rglob("*.py")}
    modules -= {"handler/service.py"}
    assert names == modules | {
        "service.py",
        "model_mlbio.pth",
        "graphs.json",
        "score_card.json",
        "MAR-INF/MANIFEST.json",
    }
    assert manifest["model"]["handler"] == "service.py"
    assert made.stat().st_size < 160e6


def test_the_entry_point_needs_nothing_outside_the_archive(made: Path, tmp_path: Path):
    with zipfile.ZipFile(made) as content:
        content.extractall(tmp_path)
    code = (
        "from pathlib import Path; import service, handler.predictor as p; "
        f"assert p.__file__.startswith({str(tmp_path)!r}), p.__file__; "
        "p.Predictor.from_graphs(Path('.'), Path('model_mlbio.pth')); print('loaded')"
    )
    finished = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert finished.stdout.strip() == "loaded", finished.stderr


def test_the_archive_moves_along_its_curve(made: Path, tmp_path: Path, example_images: list[Path], monkeypatch):
    """Every rare class gains on the nevi, by the same graphs, and the answer says so.

    Basal cell carcinomas are no rarer than nevi: most photographs of HAM10000 are nevi, most of MILK10k are these.
    """
    with zipfile.ZipFile(made) as content:
        content.extractall(tmp_path)

    def details(strength: str) -> dict:
        monkeypatch.setenv(BIAS_VARIABLE, strength)
        predictor = Predictor.from_graphs(tmp_path, tmp_path / "model_mlbio.pth")
        (answer,) = predictor.answer([Request(example_images[0].read_bytes(), details=True)])
        return json.loads(answer.body)["details"]

    own, moved = details(""), details("0.6")
    assert (own["model"]["bias_strength"], moved["model"]["bias_strength"]) == (None, 0.6)
    assert own["malignant"]["sensitivity"] is not None and moved["malignant"]["sensitivity"] is not None
    assert own["malignant"]["threshold"] != moved["malignant"]["threshold"]
    nevi = "Melanocytic nevi"
    for name, probability in moved["probabilities"].items():
        if name not in (nevi, "Basal cell carcinoma"):
            ratio = own["probabilities"][name] / own["probabilities"][nevi]
            assert probability / moved["probabilities"][nevi] > ratio, name
    assert moved["out_of_distribution"] == own["out_of_distribution"]
    with pytest.raises(BiasError, match="it must be one of 0, 0.1, 0.2"):
        details("0.65")


def test_a_broken_checkpoint_is_refused_and_the_old_archive_stays(made: Path, tmp_path: Path, capsys):
    before = made.read_bytes()
    (tmp_path / "text.pth").write_bytes(b"nonsense")
    torch.save({"state_dict": {}}, tmp_path / "other.pth")
    for name in ("text.pth", "other.pth", "none.pth"):
        assert main(["--modelname", str(tmp_path / name), "--output", str(made)]) == 2
        error = capsys.readouterr().err
        assert len(error.strip().splitlines()) == 1 and name in error
    assert made.read_bytes() == before


def test_its_checksum_is_next_to_it(made: Path):
    subprocess.run(["sha256sum", "--check", "--quiet", f"{made.name}.sha256"], cwd=made.parent, check=True)
    assert verify(made)
