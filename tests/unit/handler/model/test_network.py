"""The graph from pixels to probabilities, against the same computation step by step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from handler.model.checkpoint import MEAN, STD, Checkpoint
from handler.model.network import Normalise, PixelsToProbabilities


def test_pixels_are_standardised_per_channel():
    pixels = torch.tensor([0.0, 128.0, 255.0]).view(1, 3, 1, 1).expand(2, 3, 4, 5)
    expected = [(value / 255 - mean) / std for value, mean, std in zip((0, 128, 255), MEAN, STD, strict=True)]
    torch.testing.assert_close(Normalise()(pixels)[1, :, 3, 2], torch.tensor(expected))


def test_the_bias_is_added_before_the_temperature_divides(untrained: Checkpoint, squares: np.ndarray):
    x = torch.from_numpy(squares).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        probabilities, novelty = PixelsToProbabilities(untrained).eval()(torch.from_numpy(squares))
        logits = untrained.network()(Normalise()(x))
    expected = torch.softmax((logits + torch.tensor(untrained.bias)) / untrained.temperature, dim=1)
    torch.testing.assert_close(probabilities, expected)
    assert probabilities.shape == (4, 7) and novelty.shape == (4,) and (novelty > 0).all()


def test_without_novelty_the_scores_are_nan(untrained: Checkpoint, squares: np.ndarray):
    with torch.inference_mode():
        probabilities, novelty = PixelsToProbabilities(replace(untrained, novelty=None)).eval()(
            torch.from_numpy(squares)
        )
    assert novelty.isnan().all() and probabilities.isfinite().all()
