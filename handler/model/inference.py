"""Inference in torch: from pixels to calibrated probabilities and novelty scores."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from handler.model.network import Normalise

if TYPE_CHECKING:
    from handler.model.checkpoint import Checkpoint


class PixelsToProbabilities(nn.Module):
    """From pixels (N, 224, 224, 3), 0–255, to calibrated probabilities (N, classes) and novelty scores (N,).

    The scores are NaN if the checkpoint has no :class:`Novelty`.
    """

    bias: torch.Tensor

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.network = checkpoint.network()
        self.temperature = checkpoint.temperature
        self.register_buffer("bias", torch.tensor(checkpoint.bias))
        self.novelty = checkpoint.novelty or (lambda features: features[:, 0] * math.nan)
        self.normalise: nn.Module = Normalise(checkpoint.preprocessing["mean"], checkpoint.preprocessing["std"])

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.normalise(pixels.permute(0, 3, 1, 2).float())
        features, logits = self.network.features_and_logits(x)
        return torch.softmax((logits.float() + self.bias) / self.temperature, dim=1), self.novelty(features.float())


class Novelty(nn.Module):
    """How unlike the training photographs a picture is; above 1, its diagnosis should not be trusted.

    The squared Mahalanobis distance of intermediate features (Lee et al., "A Simple Unified Framework for Detecting
    Out-of-Distribution Samples and Adversarial Attacks", NeurIPS 2018), with one Gaussian for all classes.

    Args:
        mean: of the training images' features, shape (D,).
        whiten: whitening matrix of the centred features, shape (D, D).
        limit: squared distance that scores 1: a high quantile of the validation images' distances.
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
        """The constructor's arguments, for a checkpoint."""
        return {"mean": self.mean.cpu(), "whiten": self.whiten.cpu(), "limit": self.limit}
