"""The graph from pixels to probabilities: normalisation, ResNet34, calibration and novelty."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torchvision.models import ResNet

from handler.model.checkpoint import MEAN, STD, Checkpoint


def features_and_logits(network: ResNet, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Intermediate features and logits of a torchvision ResNet.

    Args:
        network: such as resnet34.
        x: normalised pixels, (N, 3, H, W).

    Returns:
        Layer 3's output averaged over the picture, (N, D), and the logits, (N, classes).
    """
    x = network.maxpool(network.relu(network.bn1(network.conv1(x))))
    x = network.layer3(network.layer2(network.layer1(x)))
    features = x.mean(dim=(2, 3))
    return features, network.fc(torch.flatten(network.avgpool(network.layer4(x)), 1))


class Normalise(nn.Module):
    """Standardises pixels 0–255 of shape (N, 3, H, W), in training as in serving."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels - self.mean) / self.std


class PixelsToProbabilities(nn.Module):
    """From pixels (N, 224, 224, 3), 0–255, to calibrated probabilities (N, classes) and novelty scores (N,).

    The scores are NaN if the checkpoint has no :class:`handler.model.novelty.Novelty`.
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
        features, logits = features_and_logits(self.network, x)
        return torch.softmax((logits.float() + self.bias) / self.temperature, dim=1), self.novelty(features.float())
