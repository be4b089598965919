"""Pictures for tests of decoding, and a measure of their difference."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image


def picture(width: int = 64, height: int = 48) -> Image.Image:
    """A picture whose corners and sides all differ, so that rotations and reflections show."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 40 + 170 * x / max(1, width - 1), 40 + 170 * y / max(1, height - 1)
    blue = np.where((x < width / 2) & (y < height / 2), 200, 60)
    return Image.fromarray(np.stack([red, green, blue], axis=2).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def heic(image: Image.Image, **options: Any) -> bytes:
    """The bytes of a HEIC file, as a phone writes it."""
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, **{"quality": 95, **options})
    return file.getvalue()


def noise(width: int, height: int, grain: int) -> Image.Image:
    """Random colours, smooth over ``grain`` pixels."""
    small = np.random.default_rng(0).integers(0, 256, (height // grain + 1, width // grain + 1, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def distance(ours: Image.Image | np.ndarray, reference: Image.Image | np.ndarray) -> float:
    """Mean absolute difference in levels, 0–255, of two pictures of the same size."""
    ours, reference = np.asarray(ours, float), np.asarray(reference, float)
    assert ours.shape == reference.shape
    return float(np.abs(ours - reference).mean())
