"""Photographs as the user adds them, and their thumbnails."""

from __future__ import annotations

import base64
import io
import time

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from api.limits import MAX_PIXELS
from api.photograph import open_photograph
from frontend.photographs import EXAMPLES, THUMBNAIL_SIDE, examples, is_heic, photograph, thumbnail
from tests.pictures import distance, picture


def heic(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=95, **options)
    return file.getvalue()


def test_other_files_are_sent_as_they_are():
    assert photograph("a.jpg", b"this is no photograph").content == b"this is no photograph"


def test_heic_is_sent_as_a_jpeg_of_the_same_picture():
    drawn = picture(128, 96)
    sent = photograph("IMG_1.HEIC", heic(drawn))
    assert is_heic(heic(drawn)) and sent.content.startswith(b"\xff\xd8\xff")
    assert sent.name == "IMG_1.HEIC"
    assert distance(open_photograph(sent.content), drawn) < 3


def test_a_turned_heic_is_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = photograph("a.heic", heic(picture(128, 96), exif=exif.tobytes()))
    assert open_photograph(turned.content).size == (96, 128)


@pytest.mark.parametrize("keep", [12, 300])
def test_a_broken_heic_is_left_to_the_service(keep: int):
    broken = heic(picture(128, 96))[:keep]
    assert photograph("a.heic", broken).content == broken


def test_a_huge_heic_is_not_decoded(monkeypatch):
    file = heic(picture(128, 96))
    monkeypatch.setattr("frontend.photographs.MAX_PIXELS", 128 * 96 - 1)
    assert photograph("a.heic", file).content == file
    assert MAX_PIXELS > 50_000_000


def test_the_same_file_has_the_same_id_and_others_have_others():
    ids = [photograph(n, c).id for n, c in [("a", b"1"), ("a", b"1"), ("b", b"1"), ("a", b"2")]]
    assert ids[0] == ids[1] and len(set(ids)) == 3
    assert all(i.isalnum() for i in ids)


def test_the_drawn_examples_are_offered():
    assert [e.name for e in examples()] == sorted(f.name for f in EXAMPLES.glob("drawn_*.jpg"))
    assert len(examples()) >= 3
    assert all(np.asarray(open_photograph(e.content)).size for e in examples())


def encode(picture: Image.Image, kind: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(url: str | None) -> Image.Image:
    assert url is not None and url.startswith("data:image/jpeg;base64,") and len(url) < 4000
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


@pytest.mark.parametrize(("size", "shown"), [((4000, 3000), (64, 48)), ((40, 50), (40, 50)), ((30, 3000), (1, 64))])
def test_a_thumbnail_is_small_and_keeps_the_proportions(size: tuple[int, int], shown: tuple[int, int]):
    assert decoded(thumbnail(encode(Image.new("RGB", size, "red")))).size == shown
    assert max(shown) <= THUMBNAIL_SIDE


def test_the_thumbnail_of_a_turned_photograph_is_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decoded(thumbnail(encode(Image.new("RGB", (300, 200)), exif=exif))).size == (43, 64)


def test_deep_grey_keeps_its_shades():
    deep = np.linspace(0, 65535, 4096, dtype=np.uint16).reshape(64, 64)
    shown = np.asarray(decoded(thumbnail(encode(Image.fromarray(deep), "PNG"))).convert("L"))
    assert shown.min() < 4 and shown.max() > 251 and len(np.unique(shown)) > 200


@pytest.mark.parametrize("data", [b"", b"this is no photograph", encode(Image.new("RGB", (99, 99)))[:300]])
def test_what_is_no_photograph_has_no_thumbnail(data: bytes):
    assert thumbnail(data) is None


def test_no_thumbnail_is_made_of_a_jpeg_of_a_thousand_scans():
    """38 kB of scans without content, each of which would cost a pass over a large picture."""
    photograph = encode(Image.new("RGB", (4000, 4000)), progressive=True)
    start = photograph.index(b"\xff\xda")
    scan = photograph[start : photograph.index(b"\xff", start + 12)]
    begun = time.process_time()
    assert thumbnail(photograph[:start] + scan * 1000 + photograph[start:]) is None
    assert time.process_time() - begun < 0.5
