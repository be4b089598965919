"""Probabilities and novelty scores, against the same computations step by step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from handler.model.checkpoint import Checkpoint
from handler.model.inference import Novelty, PixelsToProbabilities
from handler.model.network import Normalise


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


def test_the_score_is_the_squared_mahalanobis_distance_over_the_limit():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 3)) + 5
    inverse = np.linalg.inv(np.cov(features.T))
    centred = features - features.mean(0)
    novelty = Novelty(torch.tensor(features.mean(0)), torch.tensor(np.linalg.cholesky(inverse)), limit=2.5)
    expected = np.einsum("ni,ij,nj->n", centred, inverse, centred) / 2.5
    np.testing.assert_allclose(novelty(torch.tensor(features)), expected)
    restored = Novelty(**novelty.content())
    assert torch.equal(restored(torch.tensor(features)), novelty(torch.tensor(features)))
