"""Novelty: how unlike the training photographs a picture is, measured in the network's intermediate features."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Novelty(nn.Module):
    """Novelty score of photographs; the diagnosis of one that scores above 1 is not to be trusted.

    The squared Mahalanobis distance of layer-3 features (Lee et al., "A Simple Unified Framework for Detecting
    Out-of-Distribution Samples and Adversarial Attacks", NeurIPS 2018), with one Gaussian for all classes.

    Args:
        mean: of the training images' features, shape (D,).
        whiten: whitening matrix of the centred features, shape (D, D).
        limit: squared distance with score 1, a high quantile of the validation images'.
    """

    mean: torch.Tensor
    whiten: torch.Tensor

    def __init__(self, mean: torch.Tensor, whiten: torch.Tensor, limit: float) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("whiten", whiten)
        self.limit = limit

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Scores (N,) of features (N, D)."""
        return ((features - self.mean) @ self.whiten).square().sum(1) / self.limit

    def content(self) -> dict[str, Any]:
        """What a checkpoint stores: this class's arguments."""
        return {"mean": self.mean.cpu(), "whiten": self.whiten.cpu(), "limit": self.limit}
