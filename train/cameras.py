"""Augmentation that simulates other cameras and software.

It follows cropping and precedes erasing: gamma, white balance, defocus, lower resolution, sensor noise and JPEG
compression. The robustness table (``evaluate/robustness.py``) has similar changes at fixed strengths.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F


@dataclass(frozen=True)
class Cameras:
    """How far cameras differ. Each change is applied with its own probability, independently of the others."""

    gamma: float = 0.35  # largest absolute logarithm of the display curve's exponent
    white_balance: float = 0.15  # largest relative change of red and of blue
    blur_probability: float = 0.3
    blur: float = 2.0  # largest standard deviation in pixels of a view of 224
    enlarge_probability: float = 0.2
    enlarge: float = 0.4  # smallest share of the pixels of a side that is left before enlarging
    noise_probability: float = 0.2
    noise: float = 8.0  # largest standard deviation in levels of 0-255
    jpeg_probability: float = 0.3
    jpeg_quality: tuple[int, int] = (25, 90)


def simulate_cameras(views: torch.Tensor, cameras: Cameras, rng: np.random.Generator) -> torch.Tensor:
    """Each view as another camera might have taken it.

    Args:
        views: float pixels 0-255, (N, 3, H, W).
        cameras: how far cameras differ.
        rng: the only source of randomness.

    Returns:
        Pixels 0-255 of the same shape, on the same device.
    """
    n = len(views)
    exponent = np.exp(rng.uniform(-cameras.gamma, cameras.gamma, n))
    gains = 1 + rng.uniform(-cameras.white_balance, cameras.white_balance, (n, 3))
    gains[:, 1] = 1
    views = (views / 255).clamp_(0, 1) ** _per_view(exponent, views) * 255
    views = (views * torch.from_numpy(gains.astype(np.float32)).to(views)[:, :, None, None]).clamp_(0, 255)
    deviation = rng.uniform(0, cameras.blur, n) * views.shape[-1] / 224
    views = _replace(views, rng.random(n) < cameras.blur_probability, lambda chosen, i: _blur(chosen, deviation[i]))
    kept = rng.uniform(cameras.enlarge, 1)
    views = _replace(views, rng.random(n) < cameras.enlarge_probability, lambda chosen, _: _enlarged(chosen, kept))
    noise = rng.uniform(0, cameras.noise, n) * (rng.random(n) < cameras.noise_probability)
    if noise.any():
        grain = rng.standard_normal(tuple(views.shape), dtype=np.float32)
        views = (views + torch.from_numpy(grain).to(views) * _per_view(noise, views)).clamp_(0, 255)
    quality = rng.integers(*cameras.jpeg_quality, size=n, endpoint=True)
    return _replace(views, rng.random(n) < cameras.jpeg_probability, lambda chosen, i: _jpeg(chosen, quality[i]))


def _per_view(values: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(like)[:, None, None, None]


def _replace(
    views: torch.Tensor, chosen: np.ndarray, change: Callable[[torch.Tensor, np.ndarray], torch.Tensor]
) -> torch.Tensor:
    """``views`` with those that are ``chosen`` (N,) changed by ``change(views, indices)``."""
    indices = np.flatnonzero(chosen)
    if not len(indices):
        return views
    where = torch.from_numpy(indices).to(views.device)
    return views.index_copy(0, where, change(views[where], indices))


def _blur(views: torch.Tensor, deviation: np.ndarray) -> torch.Tensor:
    """A Gaussian blur with its own ``deviation`` (N,), in pixels, for each view."""
    n, channels, height, width = views.shape
    reach = max(1, math.ceil(3 * deviation.max()))
    offsets = np.arange(-reach, reach + 1)
    kernels = np.exp(-0.5 * (offsets / np.maximum(deviation, 0.1)[:, None]) ** 2)
    kernels = np.repeat(kernels / kernels.sum(axis=1, keepdims=True), channels, axis=0).astype(np.float32)
    weights = torch.from_numpy(kernels).to(views)[:, None]
    flat = F.pad(views, (reach,) * 4, mode="reflect").reshape(1, n * channels, height + 2 * reach, width + 2 * reach)
    flat = F.conv2d(flat, weights[:, :, None, :], groups=n * channels)
    return F.conv2d(flat, weights[:, :, :, None], groups=n * channels).reshape(views.shape)


def _enlarged(views: torch.Tensor, kept: float) -> torch.Tensor:
    """The views with ``kept`` of the pixels of each side, enlarged again."""
    size = views.shape[-2:]
    small = F.interpolate(views, [max(1, round(s * kept)) for s in size], mode="bilinear", antialias=True)
    return F.interpolate(small, size, mode="bicubic").clamp_(0, 255)


def _jpeg(views: torch.Tensor, quality: np.ndarray) -> torch.Tensor:
    """The views compressed with ``quality`` (N,), each with its own."""
    levels = views.round().byte().permute(0, 2, 3, 1).cpu().numpy()
    decoded = np.stack([_compressed(view, int(q)) for view, q in zip(levels, quality, strict=True)])
    return torch.from_numpy(decoded).permute(0, 3, 1, 2).to(views)


def _compressed(pixels: np.ndarray, quality: int) -> np.ndarray:
    """RGB ``pixels`` uint8 (H, W, 3) through a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))
