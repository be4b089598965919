"""Validation after each epoch: which epoch is kept, and what its checkpoint holds."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evaluate.dataset import Example, find_examples, split_by_lesion
from evaluate.predictions import Predictions
from handler.model.checkpoint import Checkpoint
from handler.model.inference import PixelsToProbabilities
from handler.model.network import Network
from tests.tiny_ham10000 import train_folder
from train import calibrate, hardware, validation
from train.recipe import SEVERAL_SOURCES
from train.validation import EpochFigures, Validation

CPU = torch.device("cpu")


def figures(epoch: int) -> EpochFigures:
    return EpochFigures(epoch=epoch, size=32, loss=1.5, balanced_accuracy=0.5, images_per_second=10.0)


@pytest.fixture
def examples(root, monkeypatch, one_thread) -> tuple[list[Example], list[Example]]:
    """Training and held-out examples, which are decoded to 32 pixels."""
    load_squares = validation.load_squares
    monkeypatch.setattr(validation, "load_squares", lambda *arguments: load_squares(*arguments, 32))
    return split_by_lesion(find_examples(root, "train"), 0.1, seed=0)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Network(7).eval()


def test_the_best_epoch_is_kept_and_not_the_last(examples, network, tmp_path, monkeypatch, capsys):
    path = tmp_path / "m.pth"
    held_out = Validation({"HAM10000": examples[1]}, CPU, path, {"seed": 3})
    scores = iter([0.2, 0.9, 0.5])
    monkeypatch.setattr(validation, "selection_score", lambda parts: next(scores))
    kept = []
    for epoch in (1, 2, 3):
        changed = copy.deepcopy(network)
        torch.nn.init.constant_(changed.fc.bias, epoch)
        held_out.add_epoch(changed, figures(epoch))
        kept.append(Checkpoint.load(path).state["fc.bias"][0].item())
        resumed = Validation({}, CPU, path, {"seed": 3})
        resumed.load_state_dict(held_out.state_dict())
        held_out.best_score, held_out.history = resumed.best_score, resumed.history
    assert kept == [1, 2, 2]
    checkpoint = held_out.complete(examples[0])
    assert "best epoch 2: validation on HAM10000: balanced accuracy" in capsys.readouterr().out
    assert checkpoint.training["epoch"] == 2 and checkpoint.training["seed"] == 3
    assert [entry["epoch"] for entry in checkpoint.training["history"]] == [1, 2, 3]
    assert checkpoint.state["fc.bias"].tolist() == [2.0] * 7


def test_thresholds_are_fitted_to_the_float32_outputs_that_are_served(examples, network, tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "bfloat16_is_faster", lambda: True)  # training uses bf16
    held_out = Validation({"HAM10000": examples[1]}, CPU, tmp_path / "m.pth", {})
    held_out.add_epoch(network, figures(1))
    checkpoint = held_out.complete(examples[0])
    squares, labels = held_out.parts["HAM10000"]
    with torch.inference_mode():
        probabilities, novelty = PixelsToProbabilities(checkpoint).eval()(torch.from_numpy(squares))
    threshold = calibrate.fit_malignant_threshold([(probabilities.numpy(), labels)])
    assert checkpoint.malignant_threshold == pytest.approx(threshold, rel=1e-5)
    plausible = calibrate.fit_plausible_threshold([(probabilities.numpy(), labels)])
    assert checkpoint.plausible_threshold == pytest.approx(plausible, rel=1e-5)
    reached = np.quantile(novelty.numpy(), calibrate.FAMILIAR_SHARE, method="inverted_cdf")
    assert reached == pytest.approx(1, rel=1e-4)
    train_squares = validation.load_squares(examples[0], 1, "test")
    features, _ = calibrate.predict(checkpoint.network(), train_squares, CPU)
    np.testing.assert_allclose(checkpoint.novelty.mean, features.mean(0), rtol=1e-4, atol=1e-6)


# Several sources


def test_every_part_is_scored(root, examples, network, tmp_path, monkeypatch, capsys):
    second = examples[0][:9]
    held_out = Validation({"HAM10000": examples[1], "milk10k": second}, CPU, tmp_path / "m.pth", {})
    scored = []
    monkeypatch.setattr(validation, "selection_score", lambda parts: scored.append(parts) or 0.5)
    held_out.add_epoch(network, figures(1))
    truths = [[example.label for example in part] for part in (examples[1], second)]
    assert [labels.tolist() for _, labels in scored[0]] == truths

    (entry,) = held_out.history
    assert f"validation: {json.dumps(entry)}\n" in capsys.readouterr().out
    assert list(entry["validation"]) == ["HAM10000", "milk10k"] and entry["validation_score"] == 0.5
    for (logits, labels), rounded in zip(scored[0], entry["validation"].values(), strict=True):
        assert rounded["accuracy"] == pytest.approx((logits.argmax(1) == labels).mean(), abs=1e-4)
        assert list(rounded) == ["accuracy", "balanced_accuracy", "macro_auroc"] and 0 <= rounded["macro_auroc"] <= 1

    checkpoint = held_out.complete(examples[0])
    facts = checkpoint.training["validation"]
    assert {name: part["images"] for name, part in facts.items()} == {"HAM10000": len(examples[1]), "milk10k": 9}
    assert "HAM10000: balanced accuracy" in (out := capsys.readouterr().out) and "; milk10k: balanced accuracy" in out

    held_out.keep_answers(checkpoint, tmp_path / "kept.csv", train_folder(root))
    kept = Predictions.read(tmp_path / "kept.csv")
    assert [example.path.name for example in kept.examples] == [example.path.name for example in examples[1]]
    logits = calibrate.predict(checkpoint.network(), held_out.parts["HAM10000"][0], CPU)[1]
    np.testing.assert_allclose(kept.probabilities, torch.softmax(torch.from_numpy(logits), 1), rtol=1e-3)


def test_small_photographs_do_not_count_as_familiar(examples, network, tmp_path: Path):
    small, recipe = examples[0][:5], asdict(replace(SEVERAL_SOURCES, sizes=((0.5, 32), (1.0, 64))))
    for example in small:  # the others have 48 pixels; 0.7 of 64 is 45
        Image.new("RGB", (44, 44)).save(example.path)
    parts = validation.load_parts({"HAM10000": examples[1]})
    both = [Checkpoint(network.state_dict(), training=training) for training in ({"recipe": recipe}, {})]
    for checkpoint, chosen in zip(both, (examples[0][5:], examples[0]), strict=True):
        validation.complete(checkpoint, examples[0], parts, CPU)
        features, _ = calibrate.predict(network, validation.load_squares(chosen, 1, "test"), CPU)
        np.testing.assert_allclose(checkpoint.novelty.mean, features.mean(0), rtol=1e-3, atol=1e-5)
