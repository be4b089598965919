"""Engines against plain torch, with the model that ships."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from handler.classifier import Checkpoint, Classifier
from handler.explainer import Explainer, Precision
from handler.images import network_square, open_photograph
from tests.conftest import ROOT
from train import evaluate

MODEL = ROOT / "model_store/model_mlbio.pth"


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return Checkpoint.load(MODEL)


@pytest.fixture(scope="module")
def classifier(checkpoint: Checkpoint) -> Classifier:
    return Classifier(checkpoint)


@pytest.fixture(scope="module")
def squares(example_images: list[Path]) -> np.ndarray:
    pictures = [network_square(open_photograph(p.read_bytes())) for p in example_images]
    rng = np.random.default_rng(0)
    return np.stack([*pictures, rng.integers(0, 256, (224, 224, 3), dtype=np.uint8)])


@pytest.fixture(scope="module")
def reference(checkpoint: Checkpoint, squares: np.ndarray) -> np.ndarray:
    """Torch in float64, written out step by step."""
    x = torch.from_numpy(squares).double().permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(checkpoint.preprocessing[k]).double().view(1, 3, 1, 1) for k in ("mean", "std"))
    with torch.inference_mode():
        logits = checkpoint.network().double()((x - mean) / std)
    return torch.softmax((logits + torch.tensor(checkpoint.bias)) / checkpoint.temperature, 1).numpy()


def test_probabilities_are_those_of_torch(classifier: Classifier, squares: np.ndarray, reference: np.ndarray):
    probabilities = classifier.probabilities(squares)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, reference, atol=2e-5)


def test_samples_are_near(classifier: Classifier, squares: np.ndarray, reference: np.ndarray):
    gaps = np.abs(classifier.sample_probabilities(squares) - reference)
    assert gaps.max() < 0.1 and gaps.mean() < 0.01


def test_samples_rank_regions_as_exact_probabilities_do(classifier: Classifier, squares: np.ndarray):
    """What 8 bits are for: explanations. The same masks, both engines, weights of the regions compared."""
    label = int(classifier.probabilities(squares[:1]).argmax())
    exact, fast = (
        Explainer(engine).explain(squares[0], label, Precision(256, 1.1)).weights
        for engine in (classifier.probabilities, classifier.sample_probabilities)
    )
    assert np.corrcoef(exact, fast)[0, 1] > 0.98


def test_a_checkpoint_without_ranges_is_sampled_in_16_bits_or_32(checkpoint: Checkpoint, squares, reference):
    plain = Classifier(replace(checkpoint, ranges=None))
    np.testing.assert_allclose(plain.sample_probabilities(squares), reference, atol=0.03)


def test_a_batch_answers_as_its_parts(classifier: Classifier, squares: np.ndarray):
    together = classifier.probabilities(np.concatenate([squares] * 3))
    alone = np.concatenate([classifier.probabilities(s[None]) for s in squares])
    np.testing.assert_allclose(together, np.tile(alone, (3, 1)), atol=1e-5)


def test_no_squares_no_probabilities(classifier: Classifier):
    assert classifier.probabilities(np.zeros((0, 224, 224, 3), np.uint8)).shape == (0, 7)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((1, 224, 224, 3), np.float32), ((1, 3, 224, 224), np.uint8), ((224, 224, 3), np.uint8)],
)
def test_wrong_input_is_refused(classifier: Classifier, shape: tuple, dtype: type):
    with pytest.raises(ValueError, match="expected uint8"):
        classifier.probabilities(np.zeros(shape, dtype))


def test_the_shipped_model_is_what_the_documentation_says(checkpoint: Checkpoint):
    assert MODEL.stat().st_size < 50e6
    stored = torch.load(MODEL, weights_only=True)["state_dict"]
    assert stored["conv1.weight"].dtype == torch.float16
    facts = checkpoint.training
    assert facts["epochs"] == 28 and facts["before"]["epochs"] == 15
    assert facts["before"]["init"] == "resnet34_imagenet_init.safetensors"
    assert facts["validation"]["accuracy"] > 0.8
    assert checkpoint.novelty is not None and checkpoint.ranges is not None and checkpoint.malignant_threshold > 0


def test_the_score_card_follows_from_the_kept_answers(tmp_path: Path):
    """Without an image: the same bytes again, for the model that ships."""
    kept = ROOT / "model_store/score_card"
    assert evaluate.main(["--probabilities", str(kept / "probabilities.csv"), "--output", str(tmp_path)]) == 0
    for name in ("score_card.json", "score_card.md", "probabilities.csv"):
        assert (tmp_path / name).read_bytes() == (kept / name).read_bytes(), name
    digest = hashlib.sha256(MODEL.read_bytes()).hexdigest()
    assert json.loads((kept / "score_card.json").read_text())["model"]["sha256"] == digest[:12]


def test_openvino_tells_its_maker_nothing():
    code = "import handler.classifier, sys; assert sys.modules['openvino_telemetry'] is None; print('silent')"
    finished = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert finished.stdout.strip() == "silent", finished.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, which is not here")
def test_cuda_agrees(checkpoint: Checkpoint, squares: np.ndarray, reference: np.ndarray):
    cuda = Classifier(checkpoint, "cuda")
    np.testing.assert_allclose(cuda.probabilities(squares), reference, atol=1e-3)
    np.testing.assert_allclose(cuda.sample_probabilities(squares), reference, atol=0.03)


def test_shipped_model_on_the_test_images(shared: Path, tmp_path: Path):
    """The documented command makes the card that is committed, whose figures are those of the README."""
    finished = subprocess.run(
        [sys.executable, str(ROOT / "train/evaluate.py"), str(shared / "ham10000"), "--output", str(tmp_path)],
        capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    print(finished.stdout)
    made, kept = (
        json.loads((folder / "score_card.json").read_text()) for folder in (tmp_path, ROOT / "model_store/score_card")
    )
    assert made["images"] == 2007 and made["model"] == kept["model"]
    for name, figure in kept["metrics"].items():  # another processor may round a few images differently
        assert made["metrics"][name]["value"] == pytest.approx(figure["value"], abs=0.003), name
    assert made["metrics"]["accuracy"]["value"] > 0.78 and made["metrics"]["macro_auroc"]["value"] > 0.95
    assert made["metrics"]["expected_calibration_error"]["value"] <= 0.03
    assert made["novelty"]["flagged"]["value"] <= 0.05
