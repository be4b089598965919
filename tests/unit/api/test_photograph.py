"""Decoding of every kind of file: upright RGB or a clear error, within bounded time and memory."""

from __future__ import annotations

import subprocess
import sys
import warnings
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from api.errors import ErrorCode
from api.limits import MAX_SENT_BYTES
from api.photograph import ImageError, Square, open_photograph, to_send
from tests.conftest import ROOT
from tests.hostile_photographs import (
    GIF,
    JPEG,
    ORIENTATION,
    PROFILE,
    PROGRESSIVE,
    SMALL,
    bmp_claiming,
    jpeg_claiming,
    png_of,
    tiff_of,
)
from tests.hostile_requests import LEAKS
from tests.pictures import distance, encoded, heic, noise, picture
from tests.unit.api.examples import examples

# pytest overrides the filter by which api.photograph silences Pillow's warnings of damaged metadata.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


# Files to send


FILES = {
    "JPEG": lambda p: encoded(p, "JPEG", quality=95, subsampling=0),
    "JPEG, progressive": lambda p: encoded(p, "JPEG", quality=95, subsampling=0, progressive=True),
    "JPEG, usual": lambda p: encoded(p, "JPEG", quality=90),
    "MPO": lambda p: encoded(p, "MPO", quality=95, subsampling=0, save_all=True, append_images=[p.rotate(180)]),
    "PNG": lambda p: encoded(p, "PNG"),
    "PNG, RGBA": lambda p: encoded(p.convert("RGBA"), "PNG"),
    "PNG, animated": lambda p: encoded(p, "PNG", save_all=True, append_images=[p.rotate(180)]),
    "WebP, lossy": lambda p: encoded(p, "WEBP", quality=98),
    "WebP, lossless": lambda p: encoded(p, "WEBP", lossless=True),
    "WebP, animated": lambda p: encoded(p, "WEBP", lossless=True, save_all=True, append_images=[p.rotate(180)]),
    "BMP": lambda p: encoded(p, "BMP"),
    "BMP, 32 bits": lambda p: encoded(p.convert("RGBA"), "BMP"),
    "TIFF": lambda p: encoded(p, "TIFF"),
    "TIFF, LZW": lambda p: encoded(p, "TIFF", compression="tiff_lzw"),
    "TIFF, deflate": lambda p: encoded(p, "TIFF", compression="tiff_adobe_deflate"),
    "TIFF, JPEG": lambda p: encoded(p, "TIFF", compression="jpeg", quality=95),
    "TIFF, CMYK": lambda p: encoded(p.convert("CMYK"), "TIFF"),
    "TIFF, YCbCr": lambda p: encoded(p.convert("YCbCr"), "TIFF"),
    "TIFF, two pages": lambda p: encoded(p, "TIFF", save_all=True, append_images=[p.rotate(180)]),
    "HEIC": heic,
    "JPEG, CMYK": lambda p: encoded(p.convert("CMYK"), "JPEG", quality=95),
}


# Kinds of files


@pytest.mark.parametrize("kind", FILES)
def test_every_kind_of_file_shows_its_first_picture(kind):
    photograph = open_photograph(FILES[kind](picture()))
    assert photograph.mode == "RGB"
    assert distance(photograph, picture()) < 5


def test_a_gif_of_several_frames_shows_the_first():
    grey = picture().convert("L")
    data = encoded(grey, "GIF", save_all=True, append_images=[grey.rotate(180)])
    assert distance(open_photograph(data), grey.convert("RGB")) < 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_grey_stays_grey(kind):
    photograph = open_photograph(encoded(picture().convert("L"), kind))
    assert photograph.mode == "RGB"
    assert distance(photograph, picture().convert("L").convert("RGB")) < 2.5


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
def test_one_bit_is_black_and_white(kind):
    bits = picture().convert("1")
    assert distance(open_photograph(encoded(bits, kind)), bits.convert("RGB")) == 0


# Orientation

SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}
"""The side of the scene that the first row and the first column of a file show (EXIF 2.3, 4.6.4)."""


def stored(upright: Image.Image, orientation: int) -> Image.Image:
    """``upright`` as it is stored in a file of this orientation."""
    first_row, first_column = SIDES[orientation]
    pixels = np.asarray(upright)
    if first_row in ("left", "right"):
        pixels = pixels.transpose(1, 0, 2)
    if first_row in ("bottom", "right"):
        pixels = pixels[::-1]
    if first_column in ("bottom", "right"):
        pixels = pixels[:, ::-1]
    return Image.fromarray(np.ascontiguousarray(pixels))


def exif_of(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


@pytest.mark.parametrize("orientation", SIDES)
@pytest.mark.parametrize("kind", ["JPEG", "HEIC", "PNG", "WEBP", "TIFF"])
def test_every_exif_orientation_is_turned_upright(kind, orientation):
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    make = heic if kind == "HEIC" else partial(encoded, kind=kind)
    photograph = open_photograph(make(stored(picture(), orientation), exif=exif_of(orientation), **options))
    assert photograph.size == (64, 48)
    assert distance(photograph, picture()) < 3


def test_a_large_photograph_is_turned_too():
    upright = noise(3200, 2400, 200)
    data = encoded(stored(upright, 6), "JPEG", quality=95, exif=exif_of(6))
    photograph = open_photograph(data)
    assert photograph.size == (1600, 1200)
    assert distance(photograph, upright.reduce(2)) < 2


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_invalid_orientation_is_ignored(value):
    data = encoded(picture(), "PNG", exif=exif_of(value))
    assert distance(open_photograph(data), picture()) == 0


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01" * 40,
        b"Exif\0\0garbage that is no TIFF at all",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x05\0\0\0\x1aright\0\0\0\0",
    ],
    ids=["empty", "header only", "offset outside", "entries outside", "no TIFF", "orientation in words"],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_photograph_with_damaged_exif_is_read(kind, exif):
    photograph = open_photograph(encoded(picture(), kind, exif=exif))
    assert photograph.size == (64, 48)
    assert distance(photograph, picture()) < 8


# Sizes


@pytest.mark.parametrize("mode", ["RGBA", "P", "1", "L", "LA", "I;16"])
def test_a_large_picture_of_any_mode_keeps_its_brightness(mode):
    grey = np.zeros((2000, 2400), np.uint8)
    grey[::2, ::2] = grey[1::2, 1::2] = 255  # a checkerboard, grey on average
    image = Image.fromarray(grey)
    image = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    photograph = open_photograph(encoded(image, "PNG"))
    assert photograph.size == (1200, 1000)
    np.testing.assert_allclose(np.asarray(photograph), 127.5, atol=1)


@pytest.mark.parametrize("size", [(32, 32), (12_000, 32), (32, 12_000)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_a_picture_of_an_unusual_shape_is_read(kind, size):
    photograph = open_photograph(encoded(Image.new("RGB", size, (9, 9, 9)), kind))
    assert photograph.size == size and np.abs(np.asarray(photograph).astype(int) - 9).max() <= 2


# Refusals


@pytest.mark.parametrize("kind", ["ICO", "PPM", "EPS", "PDF", "JPEG2000"])
def test_other_formats_are_refused(kind):
    """By their first bytes: Pillow would start Ghostscript for an EPS file."""
    with pytest.raises(ImageError, match="not an image that can be read: send a JPEG, HEIC, PNG, "):
        open_photograph(encoded(picture(64, 64), kind))


def test_avif_is_refused_by_name():
    with pytest.raises(ImageError, match="AVIF") as caught:
        open_photograph(encoded(picture(), "AVIF"))
    assert caught.value.code is ErrorCode.NOT_AN_IMAGE


THUMBNAIL = dict(t256=160, t257=120, t258=8, t259=1, t262=1, t273=0, t277=1, t278=120, t279=160 * 120)
"""Tags of an uncompressed grey picture of 160 x 120, as RAW files begin with."""


@pytest.mark.parametrize(
    "data",
    [
        tiff_of(bytes(19200), **THUMBNAIL, t50706=0x00000401),
        tiff_of(bytes(19200), **THUMBNAIL, t254=1, t330=0),
        tiff_of(bytes(19200), **THUMBNAIL | {"t262": 32803}),
        b"II*\0\x10\0\0\0CR\2\0" + bytes(500),
        b"IIRO\x08\0\0\0" + bytes(500),
        b"IIU\0\x08\0\0\0" + bytes(500),
        b"FUJIFILMCCD-RAW " + bytes(500),
        b"\0\0\0\x18ftypcrx " + bytes(500),
    ],
    ids=["DNG", "NEF", "PEF", "CR2", "ORF", "RW2", "RAF", "CR3"],
)
def test_a_raw_file_is_refused_and_its_thumbnail_not_classified(data):
    with pytest.raises(ImageError, match="a camera's RAW file.*: export it as JPEG"):
        open_photograph(data)


@pytest.mark.parametrize("kind", ["JPEG", "HEIC", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("size", [(1, 1), (31, 400), (400, 31)])
def test_a_picture_too_small_for_a_diagnosis_is_refused(kind, size):
    image = Image.new("RGB", size, (200, 150, 140))
    with pytest.raises(ImageError, match=f"{size[0]} x {size[1]} pixels; at least 32"):
        open_photograph(heic(image) if kind == "HEIC" else encoded(image, kind))


@pytest.mark.parametrize("data", [b"C'est une photo.", b"\0", b"\xff\xd8", bytes(100_000), b"RIFF" + bytes(100)])
def test_bytes_that_are_no_image_are_refused(data):
    with pytest.raises(ImageError, match="not an image that can be read"):
        open_photograph(data)


def test_an_empty_file_is_refused():
    with pytest.raises(ImageError, match="the file is empty"):
        open_photograph(b"")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.85])
@pytest.mark.parametrize("kind", FILES)
def test_a_truncated_file_is_refused(kind, share):
    data = FILES[kind](noise(64, 48, grain=2))
    if kind in ("MPO", "PNG, animated", "WebP, animated", "TIFF, two pages"):
        share /= 3  # else the cut falls behind the first picture
    with pytest.raises(ImageError, match="cut short|not an image that can be read") as caught:
        open_photograph(data[: int(share * len(data))])
    assert len(str(caught.value)) < 250 and "\n" not in str(caught.value)


def test_a_truncated_gif_is_refused():
    data = encoded(noise(64, 48, grain=2), "GIF")
    for share in (0.02, 0.3, 0.6, 0.85):
        with pytest.raises(ImageError):
            open_photograph(data[: int(share * len(data))])


@pytest.mark.parametrize("size", [(0, 50), (50, 0)])
def test_a_picture_without_pixels_is_refused(size):
    for data in png_of(*size), bmp_claiming(*size), jpeg_claiming(*size):
        with pytest.raises(ImageError):
            open_photograph(data)


# Photographs that are too large to send


def test_an_uncompressed_tiff_is_made_small_enough_to_send():
    """30 MB, and 40 MB in base64: over the limit of a request."""
    scene = noise(3900, 2600, 300)
    sent = to_send(encoded(scene, "TIFF"))
    assert len(sent) < MAX_SENT_BYTES
    assert distance(open_photograph(sent), open_photograph(encoded(scene, "TIFF"))) < 1


def test_a_heic_over_the_services_limit_is_sent_as_a_jpeg(monkeypatch):
    monkeypatch.setattr("api.photograph.MAX_WHOLE_PIXELS", 64 * 48 - 1)
    sent = to_send(heic(picture()))
    assert sent.startswith(b"\xff\xd8\xff")
    assert distance(open_photograph(sent), picture()) < 5


def test_a_heic_of_too_many_pixels_is_refused():
    with pytest.raises(ImageError, match="64 x 48 pixels; at most 0.003 million are read") as caught:
        open_photograph(heic(picture()), heic_pixels=3000)
    assert caught.value.code is ErrorCode.IMAGE_TOO_LARGE


@pytest.mark.parametrize("kind", ["JPEG", "HEIC", "damaged HEIC", "no photograph"])
def test_what_fits_into_a_request_is_sent_as_it_is(kind):
    file = {"JPEG": JPEG, "HEIC": heic(picture()), "damaged HEIC": heic(picture())[:300], "no photograph": b"text"}
    assert to_send(file[kind]) == file[kind]


@pytest.mark.parametrize("beginning", [b"text", JPEG[:300]])
def test_what_is_too_large_and_cannot_be_read_is_not_sent(beginning):
    with pytest.raises(ImageError):
        to_send(beginning.ljust(MAX_SENT_BYTES + 1, b" "))


# Metadata


def test_orientation_in_xmp_is_turned_upright():
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
    data = encoded(picture(), "JPEG", quality=95, subsampling=0, xmp=xmp)
    assert distance(open_photograph(data), picture().rotate(180)) < 3


def test_opening_a_photograph_leaves_the_warning_filters_alone():
    data = encoded(picture(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01" * 40)
    with warnings.catch_warnings():
        filters = list(warnings.filters)
        open_photograph(data)
        assert warnings.filters == filters


def test_pillows_limit_for_the_whole_process_is_left_as_it_is():
    code = "from PIL import Image; limit = Image.MAX_IMAGE_PIXELS; import api.photograph as p; p.open_photograph({!r})"
    code = f"{code.format(encoded(picture(), 'JPEG'))}; assert Image.MAX_IMAGE_PIXELS == limit > 0"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize(("size", "box"), [((600, 450), (75, 0, 525, 450)), ((200, 301), (0, 50, 200, 250))])
def test_the_square_is_in_the_centre(size: tuple[int, int], box: tuple[int, int, int, int]):
    assert Square.of(size).box == box


# Any input, searched by hypothesis

SAMPLES = {
    "JPEG": encoded(picture(), "JPEG", exif=ORIENTATION, icc_profile=PROFILE),
    "plain JPEG": JPEG,
    "progressive JPEG": PROGRESSIVE,
    "PNG": encoded(picture(), "PNG", exif=ORIENTATION, icc_profile=PROFILE),
    "grey PNG": SMALL,
    "WebP": encoded(picture(), "WEBP", exif=ORIENTATION),
    "BMP": encoded(picture(), "BMP"),
    "TIFF": encoded(picture(), "TIFF", compression="tiff_lzw", exif=ORIENTATION),
    "plain TIFF": encoded(picture(), "TIFF"),
    "GIF": GIF,
    "HEIC": heic(picture()),
}


def check_opening(data: bytes) -> None:
    try:
        photograph = open_photograph(data)
    except ImageError as error:
        assert 10 < len(str(error)) < 300 and "\n" not in str(error) and not LEAKS.search(str(error))
    else:
        assert photograph.mode == "RGB" and min(photograph.size) > 0


@examples(200)
@given(st.sampled_from([data[:n] for data in SAMPLES.values() for n in (3, 12, 30)]), st.binary(max_size=300))
def test_any_bytes_behind_a_beginning_are_a_photograph_or_are_refused(beginning: bytes, rest: bytes):
    check_opening(beginning + rest)


@pytest.mark.parametrize("kind", SAMPLES)
@examples(100)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=5), st.integers(0, 5)), min_size=1, max_size=6))
def test_any_damage_is_survived_or_refused(kind: str, damage: list[tuple[int, bytes, int]]):
    data = bytearray(SAMPLES[kind])
    for at, inserted, deleted in damage:
        at %= len(data) + 1
        data[at : at + deleted] = inserted
    check_opening(bytes(data))
