"""Photographs as the user adds them, and their thumbnails."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from api.limits import MAX_SENT_BYTES
from api.photograph import open_photograph
from frontend.photographs import photograph, thumbnail
from tests.pictures import encoded, noise


def turned() -> bytes:
    """EXIF data of a photograph taken with the camera on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


def test_a_file_that_is_too_large_to_send_becomes_a_smaller_one():
    sent = photograph("scan.tif", encoded(noise(3900, 2600, 300), "TIFF"))
    assert sent.name == "scan.tif" and len(sent.content) < MAX_SENT_BYTES
    assert open_photograph(sent.content).size == (1950, 1300)


@pytest.mark.parametrize("content", [b"this is no photograph", b"text".ljust(MAX_SENT_BYTES + 1)])
def test_what_cannot_be_read_is_left_to_the_service(content: bytes):
    assert photograph("a.heic", content).content == content


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
