"""Photographs made small for the table."""

from __future__ import annotations

import base64
import io
import time

import numpy as np
import pytest
from PIL import Image

from frontend.thumbnails import SIDE, icon


def encode(picture: Image.Image, kind: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def opened(address: str | None) -> Image.Image:
    assert address is not None and address.startswith("data:image/jpeg;base64,") and len(address) < 4000
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


@pytest.mark.parametrize(("size", "shown"), [((4000, 3000), (64, 48)), ((40, 50), (40, 50)), ((30, 3000), (1, 64))])
def test_it_is_small_and_keeps_the_proportions(size: tuple[int, int], shown: tuple[int, int]):
    assert opened(icon(encode(Image.new("RGB", size, "red")))).size == shown
    assert max(shown) <= SIDE


def test_a_turned_photograph_is_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert opened(icon(encode(Image.new("RGB", (300, 200)), exif=exif))).size == (43, 64)


def test_deep_grey_keeps_its_shades():
    deep = np.linspace(0, 65535, 4096, dtype=np.uint16).reshape(64, 64)
    shown = np.asarray(opened(icon(encode(Image.fromarray(deep), "PNG"))).convert("L"))
    assert shown.min() < 4 and shown.max() > 251 and len(np.unique(shown)) > 200


@pytest.mark.parametrize("data", [b"", b"this is no photograph", encode(Image.new("RGB", (99, 99)))[:300]])
def test_what_is_no_photograph_has_none(data: bytes):
    assert icon(data) is None


def test_a_jpeg_of_a_thousand_scans_is_given_up_at_once():
    """38 kB of scans without content, each of which would cost a pass over a large picture."""
    photograph = encode(Image.new("RGB", (4000, 4000)), progressive=True)
    start = photograph.index(b"\xff\xda")
    scan = photograph[start : photograph.index(b"\xff", start + 12)]
    begun = time.perf_counter()
    assert icon(photograph[:start] + scan * 1000 + photograph[start:]) is None
    assert time.perf_counter() - begun < 0.5
