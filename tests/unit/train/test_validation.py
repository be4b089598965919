"""Validation after each epoch: which epoch is kept, and what its checkpoint holds."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import resnet34

from evaluate.dataset import Example, find_examples, split_by_lesion
from handler.checkpoint import Checkpoint
from handler.network import PixelsToProbabilities
from train import calibrate, validation
from train.validation import EpochFigures, Validation

CPU = torch.device("cpu")


def figures(epoch: int) -> EpochFigures:
    return EpochFigures(epoch=epoch, size=32, loss=1.5, balanced_accuracy=0.5, images_per_second=10.0)


@pytest.fixture
def examples(root, monkeypatch, one_thread) -> tuple[list[Example], list[Example]]:
    """Training and held-out examples, which are decoded to 64 pixels."""
    load_squares = validation.load_squares
    monkeypatch.setattr(validation, "load_squares", lambda *arguments: load_squares(*arguments, 64))
    return split_by_lesion(find_examples(root, "train"), 0.1, seed=0)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return resnet34(num_classes=7).eval()


def test_the_best_epoch_is_kept_and_not_the_last(examples, network, tmp_path, monkeypatch, capsys):
    path = tmp_path / "m.pth"
    held_out = Validation(examples[1], CPU, path, {"seed": 3})
    scores = iter([0.2, 0.9, 0.5])
    monkeypatch.setattr(validation, "best_score", lambda logits, labels: next(scores))
    kept = []
    for epoch in (1, 2, 3):
        changed = copy.deepcopy(network)
        torch.nn.init.constant_(changed.fc.bias, epoch)
        held_out.add_epoch(changed, figures(epoch))
        kept.append(Checkpoint.load(path).state["fc.bias"][0].item())
    assert kept == [1, 2, 2]
    checkpoint = held_out.complete(examples[0])
    assert "best epoch 2: validation balanced accuracy" in capsys.readouterr().out
    assert checkpoint.training["epoch"] == 2 and checkpoint.training["seed"] == 3
    assert [entry["epoch"] for entry in checkpoint.training["history"]] == [1, 2, 3]
    assert checkpoint.state["fc.bias"].tolist() == [2.0] * 7


def test_the_state_goes_on_with_the_best_score(examples, tmp_path):
    first, second = (Validation(examples[1], CPU, tmp_path / "m.pth", {}) for _ in range(2))
    assert first.best_score == -math.inf
    first.best_score, first.history = 0.7, [{"epoch": 1}]
    second.load_state_dict(first.state_dict())
    assert (second.best_score, second.history) == (0.7, [{"epoch": 1}])


def test_thresholds_are_fitted_to_the_float32_outputs_that_are_served(examples, network, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)  # training uses bf16
    held_out = Validation(examples[1], CPU, tmp_path / "m.pth", {})
    held_out.add_epoch(network, figures(1))
    checkpoint = held_out.complete(examples[0])
    with torch.inference_mode():
        probabilities, novelty = PixelsToProbabilities(checkpoint).eval()(torch.from_numpy(held_out.squares))
    threshold = calibrate.fit_malignant_threshold(probabilities.numpy(), held_out.labels)
    assert checkpoint.malignant_threshold == pytest.approx(threshold, rel=1e-5)
    plausible = calibrate.fit_plausible_threshold([(probabilities.numpy(), held_out.labels)])
    assert checkpoint.plausible_threshold == pytest.approx(plausible, rel=1e-5)
    assert np.quantile(novelty.numpy(), calibrate.FAMILIAR_SHARE) == pytest.approx(1, rel=1e-4)
    train_squares = validation.load_squares(examples[0], 1, "test")
    features, _ = calibrate.predict(checkpoint.network(), train_squares, CPU)
    np.testing.assert_allclose(checkpoint.novelty.mean, features.mean(0), rtol=1e-4, atol=1e-6)


def test_no_malignant_image_is_a_checkpoint_without_a_threshold(examples, network, tmp_path, monkeypatch):
    benign = [[e for e in side if e.label in (2, 3, 5, 6)] for side in examples]
    held_out = Validation(benign[1], CPU, tmp_path / "m.pth", {})
    held_out.add_epoch(network, figures(1))
    assert held_out.complete(benign[0]).malignant_threshold is None
    assert Checkpoint.load(Path(tmp_path / "m.pth")).malignant_threshold is None
