"""The novelty score, against its definition."""

from __future__ import annotations

import numpy as np
import torch

from handler.model.novelty import Novelty


def fitted(features: np.ndarray, limit: float) -> Novelty:
    """Novelty of a Gaussian with the mean and covariance of ``features``."""
    whiten = np.linalg.cholesky(np.linalg.inv(np.cov(features.T)))
    return Novelty(torch.tensor(features.mean(0)), torch.tensor(whiten), limit)


def test_the_score_is_the_squared_mahalanobis_distance_over_the_limit():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 3)) + 5
    centred = features - features.mean(0)
    expected = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(np.cov(features.T)), centred) / 2.5
    scores = fitted(features, limit=2.5)(torch.tensor(features))
    np.testing.assert_allclose(scores, expected)


def test_the_content_restores_the_module():
    features = np.random.default_rng(1).normal(size=(50, 3))
    novelty = fitted(features, limit=4.0)
    restored = Novelty(**novelty.content())
    assert torch.equal(restored(torch.tensor(features)), novelty(torch.tensor(features)))
