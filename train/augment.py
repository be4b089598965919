"""Random views of photographs for training, a batch at a time.

Lesions have no orientation, so the eight flips and quarter turns of a photograph are equally likely. Each change is
one tensor operation for the whole batch, on its device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from train.cameras import Cameras, simulate_cameras


@dataclass(frozen=True)
class Augmentation:
    """How far random views differ from their photographs."""

    crop_area: tuple[float, float] = (0.4, 1.0)  # share of the square's area
    crop_ratio: float = 1.25  # largest ratio of a crop's sides
    rotation: float = 20.0  # largest angle in degrees, on top of a quarter turn; the border shows reflections
    lighting: float = 0.25  # largest relative change of brightness, contrast and saturation
    colour_cast: float = 0.06  # largest relative change of one channel: dermatoscopes differ in white balance
    erase_probability: float = 0.4  # share of the views that lose a rectangle
    erase_area: tuple[float, float] = (0.02, 0.2)  # share of the view's area that the rectangle takes
    mixup_probability: float = 0.5  # share of the batches that are blended in pairs
    mixup_alpha: float = 0.2  # parameter of the Beta distribution of the blend
    cameras: Cameras | None = None  # how far cameras differ, if at all


_QUARTER_TURNS = torch.tensor([[[1, 0], [0, 1]], [[0, -1], [1, 0]], [[-1, 0], [0, -1]], [[0, 1], [-1, 0]]])
_DIHEDRAL = torch.cat([_QUARTER_TURNS, _QUARTER_TURNS @ torch.tensor([[-1, 0], [0, 1]])]).float()
"""The eight symmetries of the square as matrices, shape (8, 2, 2)."""


def random_views(
    squares: torch.Tensor, size: int, augmentation: Augmentation, rng: np.random.Generator
) -> torch.Tensor:
    """One random view of each photograph: cropped, turned, relit and partly erased.

    Args:
        squares: photographs, ``uint8`` (N, S, S, 3).
        size: side of the views in pixels.
        augmentation: how far the views may differ.
        rng: the only source of randomness.

    Returns:
        float32 pixels 0–255 of shape (N, 3, size, size), on the device of ``squares``.
    """
    pixels = squares.permute(0, 3, 1, 2).float()
    while pixels.shape[-1] >= 2 * size:  # bilinear sampling alone would skip pixels
        pixels = F.avg_pool2d(pixels, 2)
    views = _crop_and_turn(pixels, size, augmentation, rng)
    views = _relight(views, augmentation, rng)
    if augmentation.cameras:
        views = simulate_cameras(views, augmentation.cameras, rng)
    return _erase(views, augmentation, rng)


def mixup(
    views: torch.Tensor, targets: torch.Tensor, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend a random share of the batches in pairs (mixup: Zhang et al., ICLR 2018).

    ``views`` (N, 3, H, W) and ``targets``, class probabilities (N, C), are returned in the same shapes.
    """
    if rng.random() >= augmentation.mixup_probability:
        return views, targets
    weight = float(rng.beta(augmentation.mixup_alpha, augmentation.mixup_alpha))
    weight = max(weight, 1 - weight)  # so that the original view's label is the one for the training accuracy
    partner = torch.from_numpy(rng.permutation(len(views))).to(views.device)
    return torch.lerp(views[partner], views, weight), torch.lerp(targets[partner], targets, weight)


def _crop_and_turn(
    pixels: torch.Tensor, size: int, augmentation: Augmentation, rng: np.random.Generator
) -> torch.Tensor:
    """Random crop, symmetry of the square and rotation in one resampling."""
    n = len(pixels)
    area = rng.uniform(*augmentation.crop_area, n)
    log_ratio = math.log(augmentation.crop_ratio)
    ratio = np.exp(rng.uniform(-log_ratio, log_ratio, n))
    extent = np.minimum(np.stack([np.sqrt(area * ratio), np.sqrt(area / ratio)], 1), 1.0)  # share of the square's side
    centre = rng.uniform(-1, 1, (n, 2)) * (1 - extent)
    angle = np.radians(rng.uniform(-augmentation.rotation, augmentation.rotation, n))
    rotation = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], 1).reshape(n, 2, 2)
    symmetry = _DIHEDRAL[torch.from_numpy(rng.integers(8, size=n))]
    matrix = torch.from_numpy((rotation * extent[:, None, :]).astype(np.float32)) @ symmetry
    theta = torch.cat([matrix, torch.from_numpy(centre.astype(np.float32))[:, :, None]], 2).to(pixels.device)
    grid = F.affine_grid(theta, [n, 3, size, size], align_corners=False)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _relight(views: torch.Tensor, augmentation: Augmentation, rng: np.random.Generator) -> torch.Tensor:
    """Change brightness, contrast, saturation and white balance."""
    n = len(views)

    def factors(reach: float, channels: int = 1) -> torch.Tensor:
        return torch.from_numpy(rng.uniform(1 - reach, 1 + reach, (n, channels, 1, 1)).astype(np.float32)).to(views)

    views = views * factors(augmentation.lighting)
    mean = views.mean(dim=(1, 2, 3), keepdim=True)
    views = torch.lerp(mean, views, factors(augmentation.lighting))
    grey = views.mean(dim=1, keepdim=True)
    views = torch.lerp(grey, views, factors(augmentation.lighting))
    return (views * factors(augmentation.colour_cast, 3)).clamp_(0, 255)


def _erase(views: torch.Tensor, augmentation: Augmentation, rng: np.random.Generator) -> torch.Tensor:
    """Random erasing (Zhong et al., AAAI 2020): fill a rectangle with the view's mean colour."""
    n, _, side, _ = views.shape
    area = rng.uniform(*augmentation.erase_area, n) * (rng.random(n) < augmentation.erase_probability)
    ratio = np.exp(rng.uniform(-math.log(2), math.log(2), n))
    extent = np.stack([np.sqrt(area * ratio), np.sqrt(area / ratio)])  # height and width, as shares of the side
    start = rng.uniform(0, 1, (2, n)) * (1 - extent)
    position = (np.arange(side) + 0.5) / side
    inside = (position >= start[..., None]) & (position < (start + extent)[..., None])  # (2, n, side)
    rows, columns = torch.from_numpy(inside).to(views.device)
    hidden = (rows[:, :, None] & columns[:, None, :])[:, None]
    return torch.where(hidden, views.mean(dim=(2, 3), keepdim=True), views)
