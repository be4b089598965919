"""Pictures from the answers of the service."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image


def explanation_png(explain: Sequence[Sequence[Sequence[int]]]) -> bytes:
    """An answer's ``explain``, H x W x 3 integers from 0 to 255, as a PNG file.

    Raises:
        ValueError: rows of different lengths, or no pixels.
    """
    pixels = np.array(explain, np.uint8)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"expected H x W x 3 integers, got an array of shape {pixels.shape}")
    return encode_png(Image.fromarray(pixels))


def encode_png(picture: Image.Image) -> bytes:
    """The bytes of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
