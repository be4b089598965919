"""The network, and another one in its place."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Self

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from api.classes import CLASSES
from api.request import Request
from handler.engines.convert import export
from handler.engines.quantise import activation_ranges
from handler.model import checkpoint
from handler.model.checkpoint import Checkpoint, CheckpointError
from handler.model.inference import PixelsToProbabilities
from handler.model.network import MEAN, STD, Network, Normalise
from handler.predictor import Predictor


class Tiny(nn.Module):
    """Another network: two convolutions."""

    architecture = "tiny"
    head = "classify"

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.edges, self.edges_norm = nn.Conv2d(3, 8, 5, 4, 2), nn.BatchNorm2d(8)
        self.texture = nn.Conv2d(8, 16, 3, 2, 1)
        self.classify = nn.Linear(16, classes)

    def features_and_logits(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.texture(self.edges_norm(self.edges(x)).relu())
        features = x.relu().mean((2, 3))
        return features, self.classify(features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.features_and_logits(x)[1]

    def fold_batch_norm(self) -> Self:
        self.edges, self.edges_norm = fuse_conv_bn_eval(self.edges, self.edges_norm), nn.Identity()
        return self

    def activations_to_round(self) -> dict[str, str]:
        return {"texture": "texture"}


def test_another_network_is_one_other_class(
    saved: Path, squares: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its checkpoint is saved, loaded and quantised, and its graphs answer requests."""
    monkeypatch.setattr(checkpoint, "Network", Tiny)
    with pytest.raises(CheckpointError, match="is a resnet34; this version reads tiny"):
        Checkpoint.load(saved)
    torch.manual_seed(0)
    path = tmp_path / "model.pth"
    trained = Checkpoint(Tiny(len(CLASSES)).state_dict(), temperature=0.05)
    pixels = Normalise()(torch.from_numpy(squares).permute(0, 3, 1, 2).float())
    trained.ranges = activation_ranges(trained.network().fold_batch_norm(), [pixels])
    trained.save(path)
    export(path, tmp_path)
    predictor = Predictor.from_graphs(tmp_path, path)
    with torch.inference_mode():
        expected = PixelsToProbabilities(Checkpoint.load(path)).eval()(torch.from_numpy(squares))[0].numpy()
    assert np.ptp(expected, axis=0).max() > 0.05  # the squares differ
    rounded = predictor.classifier.sample_probabilities(squares)
    np.testing.assert_allclose(rounded, expected, atol=0.02)
    assert not np.allclose(rounded, expected, atol=1e-5)

    photograph = io.BytesIO()
    Image.fromarray(squares[0]).save(photograph, "PNG")
    (answer,) = predictor.answer([Request(photograph.getvalue(), details=True)])
    assert answer.status == 200
    details = msgspec.json.decode(answer.body)["details"]
    assert details["model"]["architecture"] == "tiny"
    np.testing.assert_allclose(list(details["probabilities"].values()), expected[0], atol=0.02)  # in bfloat16


def test_intermediate_features_and_logits_equal_torchvisions():
    torch.manual_seed(0)
    network, x, seen = Network(7).eval(), torch.randn(2, 3, 64, 64), []
    network.layer3.register_forward_hook(lambda *arguments: seen.append(arguments[2].mean((2, 3))))
    with torch.inference_mode():
        expected = network(x)
        features, logits = network.features_and_logits(x)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(features, seen[0])


def test_pixels_are_standardised_per_channel():
    pixels = torch.tensor([0.0, 128.0, 255.0]).view(1, 3, 1, 1).expand(2, 3, 4, 5)
    expected = [(value / 255 - mean) / std for value, mean, std in zip((0, 128, 255), MEAN, STD, strict=True)]
    torch.testing.assert_close(Normalise()(pixels)[1, :, 3, 2], torch.tensor(expected))
