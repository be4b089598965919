"""Pictures of explanations, drawn from answers."""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from PIL.PngImagePlugin import PngInfo

from api.answer import Regions
from api.photograph import Square

OVERLAYS = ("heatmap", "outline")
"""Kinds of pictures that :func:`overlay_png` draws."""

FOR, AGAINST = (0, 114, 178), (230, 159, 0)
"""Blue and orange, distinguishable with any kind of colour blindness (Okabe and Ito)."""

OPACITY = 0.65
"""Of the region with the largest weight on a heat map."""

_SOURCE = "MLBIO-Photograph"
_NAME = re.compile(r".*_explained(_\d+)?\.png", re.IGNORECASE | re.DOTALL)


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


def read_map(text: str) -> np.ndarray:
    """The region numbers (H, W) of an answer's ``regions.map``.

    Raises:
        ValueError: not a grey PNG file in base64.
    """
    try:
        picture = Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"])
        if picture.mode != "L" or max(picture.size) > 1024:
            raise ValueError(f"expected a grey picture of at most 1024 pixels, got {picture.mode} {picture.size}")
        return np.asarray(picture)
    except (binascii.Error, OSError, SyntaxError) as error:
        raise ValueError(f"the regions' map is not a PNG file in base64 ({error})") from None


def overlay_png(photograph: Image.Image, regions: Regions, kind: str) -> bytes:
    """An explanation drawn on the whole photograph, as a PNG file: for the diagnosis in blue, against it in orange.

    What the network did not see, outside the centre square, is darkened.

    Args:
        photograph: RGB, of any size.
        regions: of an answer's ``details.explanation``.
        kind: ``heatmap``, which colours the regions by their weights, or ``outline``, which draws the borders of those
            whose weight is more than twice its standard error.

    Raises:
        ValueError: the regions do not fit together, or another kind.
    """
    if kind not in OVERLAYS:
        raise ValueError(f"the kind of an overlay is {' or '.join(OVERLAYS)}, not {kind}")
    numbers = read_map(regions.map)
    weights = np.array(regions.weights, np.float32)
    errors = np.array(regions.standard_errors or [0.0] * len(weights), np.float32)
    if numbers.max(initial=0) >= len(weights) or len(errors) != len(weights):
        raise ValueError("the map has other regions than the weights")
    seen = Square.of(photograph.size)
    side = seen.side
    square = np.asarray(photograph.crop(seen.box), np.float32)
    if kind == "heatmap":
        strength = weights / max(float(np.abs(weights).max(initial=0)), 1e-9)
        image = Image.fromarray(strength[numbers].astype(np.float32))
        values = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))
    else:
        certain = np.abs(weights) > 2 * errors
        signs = np.where(certain, np.sign(weights), 0) / OPACITY  # opaque
        large = Image.fromarray(numbers).resize((side, side), Image.Resampling.NEAREST)
        # Drawn inside each region, so that neighbours both have a border.
        thickness = 2 * max(1, side // 250) + 1
        low, high = large.filter(ImageFilter.MinFilter(thickness)), large.filter(ImageFilter.MaxFilter(thickness))
        values = np.where(np.asarray(low) != np.asarray(high), signs[np.asarray(large)], 0).astype(np.float32)
    opacity = (OPACITY * np.abs(values))[..., None]
    colour = np.where((values > 0)[..., None], np.array(FOR, np.float32), np.array(AGAINST, np.float32))
    picture = photograph.point([value // 2 for value in range(256)] * 3)
    drawn = square * (1 - opacity) + colour * opacity
    picture.paste(Image.fromarray(drawn.round().clip(0, 255).astype(np.uint8)), (seen.left, seen.top))
    return encode_png(picture)


def with_source(png: bytes, source: str) -> bytes:
    """The PNG file with the name of its photograph in it, which :func:`source_of` reads."""
    info = PngInfo()
    info.add_itxt(_SOURCE, source)
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png), formats=("PNG",)) as picture:
        picture.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def source_of(path: Path) -> str | None:
    """Which photograph the picture at ``path`` explains; None for any other file."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            source = picture.info.get(_SOURCE)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return str(source) if source is not None else None


def is_explanation(path: Path) -> bool:
    """Whether the file is one of our pictures of an explanation, rather than a photograph."""
    return _NAME.fullmatch(path.name) is not None and source_of(path) is not None
