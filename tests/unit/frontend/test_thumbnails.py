"""Photographs made ready for the page."""

from __future__ import annotations

import base64
import io
import time

import numpy as np
import pytest
from PIL import Image

from frontend.thumbnails import SIDE, icon, thumbnail_png


def encode(picture: Image.Image, kind: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def opened(png: bytes | None) -> Image.Image:
    assert png is not None
    picture = Image.open(io.BytesIO(png))
    assert (picture.format, picture.mode) == ("PNG", "RGB")
    return picture


@pytest.mark.parametrize(("size", "shown"), [((4000, 3000), (512, 384)), ((300, 200), (300, 200))])
def test_it_is_at_most_512_pixels_wide_or_high(size: tuple[int, int], shown: tuple[int, int]):
    assert opened(thumbnail_png(encode(Image.new("RGB", size)))).size == shown
    assert max(shown) <= SIDE


def test_a_turned_photograph_is_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert opened(thumbnail_png(encode(Image.new("RGB", (300, 200)), exif=exif))).size == (200, 300)


def test_deep_grey_keeps_its_shades():
    deep = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16)
    shown = np.asarray(opened(thumbnail_png(encode(Image.fromarray(deep), "PNG"))))
    assert shown.min() == 0 and shown.max() == 255 and len(np.unique(shown)) > 200


@pytest.mark.parametrize("data", [b"", b"this is no photograph", encode(Image.new("RGB", (99, 99)))[:300]])
def test_what_is_no_photograph_has_none(data: bytes):
    assert thumbnail_png(data) is None


def test_a_jpeg_of_a_thousand_scans_is_given_up_at_once():
    """38 kB of scans without content, each of which would cost a pass over a large picture."""
    photograph = encode(Image.new("RGB", (4000, 4000)), progressive=True)
    start = photograph.index(b"\xff\xda")
    scan = photograph[start : photograph.index(b"\xff", start + 12)]
    begun = time.perf_counter()
    assert thumbnail_png(photograph[:start] + scan * 1000 + photograph[start:]) is None
    assert time.perf_counter() - begun < 0.5


def test_an_icon_is_small_and_keeps_the_proportions():
    thumbnail = thumbnail_png(encode(Image.new("RGB", (4000, 3000), "red")))
    assert thumbnail is not None
    address = icon(thumbnail)
    assert address.startswith("data:image/jpeg;base64,") and len(address) < 4000
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as picture:
        assert picture.size == (64, 48)
