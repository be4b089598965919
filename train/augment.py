"""Random views of a photograph for training: a crop, one of the eight dihedral turns, a change of light.

A lesion has no up and no left, so all eight are as real as the photograph itself.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torchvision.transforms.v2 import functional as F

SCALE = (0.5, 1.0)
"""Share of the centre square's area that a crop takes."""

LIGHT = 0.2
"""Largest relative change of brightness, contrast and saturation."""


def random_batch(photographs: list[np.ndarray], size: int, rng: np.random.Generator) -> torch.Tensor:
    """One random view of each photograph: ``uint8`` pixels turned float32 0–255, shape (N, 3, size, size)."""
    views = torch.stack([_random_view(p, size, rng) for p in photographs]).float()
    return _random_light(views, rng)


def _random_view(photograph: np.ndarray, size: int, rng: np.random.Generator) -> torch.Tensor:
    height, width = photograph.shape[:2]
    shorter = min(height, width)
    area = shorter * shorter * rng.uniform(*SCALE)
    ratio = math.exp(rng.uniform(math.log(4 / 5), math.log(5 / 4)))
    crop_height = min(height, max(1, round(math.sqrt(area / ratio))))
    crop_width = min(width, max(1, round(math.sqrt(area * ratio))))
    # Serving shows the centre square, so crops start inside it (the widest reach an eighth beyond): what lies outside
    # is never asked about.
    top = _offset(height, shorter, crop_height, rng)
    left = _offset(width, shorter, crop_width, rng)
    pixels = torch.from_numpy(photograph[top : top + crop_height, left : left + crop_width]).permute(2, 0, 1)
    view = F.resize(pixels.contiguous(), [size, size], antialias=True)
    turn = int(rng.integers(8))
    if turn & 4:
        view = view.transpose(1, 2)
    return torch.rot90(view, turn & 3, (1, 2))


def _offset(length: int, shorter: int, crop: int, rng: np.random.Generator) -> int:
    margin = (length - shorter) // 2
    low, high = margin, margin + shorter - crop
    return int(rng.integers(low, high + 1)) if high > low else max(0, min(low, length - crop))


def _random_light(views: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    n = len(views)
    factor = torch.from_numpy(rng.uniform(1 - LIGHT, 1 + LIGHT, (3, n, 1, 1, 1)).astype(np.float32))
    brightness, contrast, saturation = factor
    views = views * brightness
    mean = views.mean(dim=(1, 2, 3), keepdim=True)
    views = mean + (views - mean) * contrast
    grey = views.mean(dim=1, keepdim=True)
    views = grey + (views - grey) * saturation
    return views.clamp_(0, 255)
