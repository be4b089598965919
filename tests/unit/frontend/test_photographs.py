"""What is dropped on the page, before it is sent."""

from __future__ import annotations

import io

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from api.limits import MAX_PIXELS
from api.photograph import open_photograph
from frontend.photographs import EXAMPLES, examples, is_heic, photograph
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
