"""Random views of photographs for training, a batch at a time: cut and turned, relit, partly erased, mixed in pairs.

A lesion has no up and no left, so all eight dihedral turns are as real as the photograph itself. Everything is one
tensor operation for the whole batch, on whichever device holds it.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F

SCALE = (0.4, 1.0)
"""Share of the square's area that a crop takes."""

RATIO = 1.25
"""Largest ratio of a crop's sides."""

ROTATION = 20.0
"""Largest turn in degrees beside the dihedral one; what comes into view is the photograph's reflection."""

LIGHT = 0.25
"""Largest relative change of brightness, contrast and saturation."""

CAST = 0.06
"""Largest relative change of one colour channel: dermatoscopes and cameras differ in their white."""

ERASE = 0.4
"""Share of the views that lose a rectangle."""

ERASED = (0.02, 0.2)
"""Share of the view's area that the rectangle takes."""

MIXED = 0.5
"""Share of the batches whose views are blended in pairs."""

MIXED_ALPHA = 0.2
"""Parameter of the Beta distribution of the blend."""

_DIHEDRAL = torch.tensor([[[1, 0], [0, 1]], [[0, -1], [1, 0]], [[-1, 0], [0, -1]], [[0, 1], [-1, 0]]])
_DIHEDRAL = torch.cat([_DIHEDRAL, _DIHEDRAL @ torch.tensor([[-1, 0], [0, 1]])]).float()


def random_batch(squares: torch.Tensor, size: int, rng: np.random.Generator) -> torch.Tensor:
    """One random view of each photograph.

    ``squares`` is ``uint8`` (N, S, S, 3); float32 pixels 0–255 of shape (N, 3, size, size) come back, on the same
    device. The same ``rng`` state gives the same views.
    """
    pixels = squares.permute(0, 3, 1, 2).float()
    return _erase(_relight(_cut(pixels, size, rng), rng), rng)


def mix(views: torch.Tensor, wanted: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend some batches in pairs, pictures and labels alike (mixup: Zhang et al., ICLR 2018).

    ``views`` (N, 3, H, W) and ``wanted`` (N, C), the probability asked of each class; both come back of that shape.
    """
    if rng.random() >= MIXED:
        return views, wanted
    share = float(rng.beta(MIXED_ALPHA, MIXED_ALPHA))
    share = max(share, 1 - share)  # a view stays mostly what it was, so that hits can be counted
    partner = torch.from_numpy(rng.permutation(len(views))).to(views.device)
    return torch.lerp(views[partner], views, share), torch.lerp(wanted[partner], wanted, share)


def _cut(pixels: torch.Tensor, size: int, rng: np.random.Generator) -> torch.Tensor:
    n = len(pixels)
    area = rng.uniform(*SCALE, n)
    ratio = np.exp(rng.uniform(-math.log(RATIO), math.log(RATIO), n))
    half = np.minimum(np.stack([np.sqrt(area * ratio), np.sqrt(area / ratio)], 1), 1.0)  # of the square's half side
    centre = rng.uniform(-1, 1, (n, 2)) * (1 - half)
    angle = np.radians(rng.uniform(-ROTATION, ROTATION, n))
    rotation = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], 1).reshape(n, 2, 2)
    turn = _DIHEDRAL[torch.from_numpy(rng.integers(8, size=n))]
    matrix = torch.from_numpy((rotation * half[:, None, :]).astype(np.float32)) @ turn
    theta = torch.cat([matrix, torch.from_numpy(centre.astype(np.float32))[:, :, None]], 2).to(pixels.device)
    grid = F.affine_grid(theta, [n, 3, size, size], align_corners=False)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _relight(views: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    n = len(views)

    def factors(reach: float, channels: int = 1) -> torch.Tensor:
        return torch.from_numpy(rng.uniform(1 - reach, 1 + reach, (n, channels, 1, 1)).astype(np.float32)).to(views)

    views = views * factors(LIGHT)
    mean = views.mean(dim=(1, 2, 3), keepdim=True)
    views = torch.lerp(mean, views, factors(LIGHT))
    grey = views.mean(dim=1, keepdim=True)
    views = torch.lerp(grey, views, factors(LIGHT))
    return (views * factors(CAST, 3)).clamp_(0, 255)


def _erase(views: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Random erasing (Zhong et al., AAAI 2020) with the view's mean colour."""
    n, _, side, _ = views.shape
    area = rng.uniform(*ERASED, n) * (rng.random(n) < ERASE)
    ratio = np.exp(rng.uniform(-math.log(2), math.log(2), n))
    extent = np.stack([np.sqrt(area * ratio), np.sqrt(area / ratio)])  # height and width, as shares of the side
    start = rng.uniform(0, 1, (2, n)) * (1 - extent)
    place = (np.arange(side) + 0.5) / side
    inside = (place >= start[..., None]) & (place < (start + extent)[..., None])  # (2, n, side)
    down, across = torch.from_numpy(inside).to(views.device)
    hidden = (down[:, :, None] & across[:, None, :])[:, None]
    return torch.where(hidden, views.mean(dim=(2, 3), keepdim=True), views)
