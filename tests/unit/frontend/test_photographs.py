"""Photographs as the user adds them, and their thumbnails."""

from __future__ import annotations

import base64
import io

import pillow_heif
import pytest
from PIL import Image

from api.photograph import open_photograph
from frontend.photographs import photograph, thumbnail
from tests.pictures import distance, picture


def heic(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=95, **options)
    return file.getvalue()


def turned() -> bytes:
    """EXIF data of a photograph taken with the camera on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


def test_heic_is_sent_as_an_upright_jpeg_of_the_same_picture():
    drawn = picture(128, 96)
    sent = photograph("IMG_1.HEIC", heic(drawn))
    assert sent.name == "IMG_1.HEIC" and sent.content.startswith(b"\xff\xd8\xff")
    assert distance(open_photograph(sent.content), drawn) < 3
    assert open_photograph(photograph("a.heic", heic(drawn, exif=turned())).content).size == (96, 128)


@pytest.mark.parametrize(
    "content", [b"this is no photograph", heic(picture(128, 96))[:12], heic(picture(128, 96))[:300]]
)
def test_what_cannot_be_read_is_left_to_the_service(content: bytes):
    assert photograph("a.heic", content).content == content


def test_a_huge_heic_is_not_decoded(monkeypatch):
    file = heic(picture(128, 96))
    monkeypatch.setattr("frontend.photographs.MAX_PIXELS", 128 * 96 - 1)
    assert photograph("a.heic", file).content == file


def test_the_same_file_has_the_same_id_and_others_have_others():
    ids = [photograph(n, c).id for n, c in [("a", b"1"), ("a", b"1"), ("b", b"1"), ("a", b"2")]]
    assert ids[0] == ids[1] and len(set(ids)) == 3
    assert all(i.isalnum() for i in ids)


@pytest.mark.parametrize(
    ("size", "options", "shown"),
    [((4000, 3000), {}, (64, 48)), ((40, 50), {}, (40, 50)), ((300, 200), {"exif": turned()}, (43, 64))],
)
def test_a_thumbnail_is_small_and_upright(size: tuple[int, int], options: dict, shown: tuple[int, int]):
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, "JPEG", **options)
    url = thumbnail(file.getvalue())
    assert url is not None and url.startswith("data:image/jpeg;base64,") and len(url) < 4000
    assert Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).size == shown


def test_what_is_no_photograph_has_no_thumbnail():
    assert thumbnail(b"this is no photograph") is None
