"""The network from pixels to probabilities: normalisation, ResNet34, calibration and novelty in one graph."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from handler.checkpoint import MEAN, STD, Checkpoint


def middle_and_logits(network: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What a ResNet of torchvision computes, half-way and in the end.

    ``x`` is a normalised batch; returned are layer 3's mean over the picture (N, D) and the logits (N, classes).
    """
    x = network.maxpool(network.relu(network.bn1(network.conv1(x))))
    x = network.layer3(network.layer2(network.layer1(x)))
    middle = x.mean(dim=(2, 3))
    return middle, network.fc(torch.flatten(network.avgpool(network.layer4(x)), 1))


class Normalise(nn.Module):
    """Pixels 0–255 of shape (N, 3, H, W) as the network expects them, in training as in serving."""

    def __init__(self, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels - self.mean) / self.std


class PixelsToProbabilities(nn.Module):
    """Pixels in, calibrated probabilities and novelty out: all in one graph.

    Input (N, 224, 224, 3) with values 0–255; output (N, classes) and (N,), the latter NaN for a checkpoint that
    cannot tell.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.network = checkpoint.network()
        self.temperature = checkpoint.temperature
        self.register_buffer("bias", torch.tensor(checkpoint.bias))
        self.novelty = checkpoint.novelty or (lambda middle: middle[:, 0] * math.nan)
        self.normalise = Normalise(checkpoint.preprocessing["mean"], checkpoint.preprocessing["std"])

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.normalise(pixels.permute(0, 3, 1, 2).float())
        middle, logits = middle_and_logits(self.network, x)
        return torch.softmax((logits.float() + self.bias) / self.temperature, dim=1), self.novelty(middle.float())
