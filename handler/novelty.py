"""How unlike the training photographs a picture is: a distance in the network's middle features."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Novelty(nn.Module):
    """How unlike the training images a photograph is: above 1, do not trust its diagnosis.

    The squared Mahalanobis distance of middle features (Lee et al., NeurIPS 2018), one Gaussian for all classes.

    Args:
        mean: of the training images' features, shape (D,).
        whiten: whitening matrix of their differences from the mean, shape (D, D).
        limit: the squared distance that scores 1; few validation photographs exceed it.
    """

    def __init__(self, mean: torch.Tensor, whiten: torch.Tensor, limit: float) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("whiten", whiten)
        self.limit = limit

    def forward(self, middle: torch.Tensor) -> torch.Tensor:
        """The score (N,) of features (N, D)."""
        return ((middle - self.mean) @ self.whiten).square().sum(1) / self.limit

    def content(self) -> dict[str, Any]:
        """The values that a checkpoint stores."""
        return {"mean": self.mean.cpu(), "whiten": self.whiten.cpu(), "limit": self.limit}
