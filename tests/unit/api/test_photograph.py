"""Decoding of every kind of file: upright RGB or a clear error, within bounded time and memory."""

from __future__ import annotations

import struct
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from api.photograph import ImageError, Square, open_photograph
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
from tests.pictures import distance, encoded, noise, picture
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


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_of_grey_are_scaled_and_not_clipped(kind):
    ramp = np.linspace(0, 65535, 64 * 48).reshape(48, 64)
    photograph = open_photograph(encoded(Image.fromarray(ramp.astype(np.uint16)), kind))
    assert distance(photograph, np.repeat((ramp / 257)[..., None], 3, axis=2)) < 1


def test_sixteen_bits_of_either_byte_order_are_the_same():
    values = np.linspace(0, 60000, 64 * 48).reshape(48, 64).astype(np.uint16)
    size = dict(t256=64, t257=48, t258=16, t259=1, t262=1, t273=0, t277=1, t278=48, t279=values.nbytes)
    little = tiff_of(values.astype("<u2").tobytes(), **size)
    numbers = sorted((int(k[1:]), v) for k, v in size.items())
    start = 8 + 2 + 12 * len(numbers) + 4
    entries = b"".join(struct.pack(">HHII", n, 4, 1, start if n == 273 else v) for n, v in numbers)
    big = b"MM\0*" + struct.pack(">IH", 8, len(numbers)) + entries + bytes(4) + values.astype(">u2").tobytes()
    assert distance(open_photograph(big), open_photograph(little)) == 0
    assert np.asarray(open_photograph(big)).max() == round(60000 / 257)


@pytest.mark.parametrize(
    "values, expected",
    [
        (np.linspace(0, 1, 12, dtype=np.float32), np.linspace(0, 255, 12)),
        (np.linspace(0, 255, 12, dtype=np.float32), np.linspace(0, 255, 12)),
        (np.linspace(0, 65535, 12, dtype=np.float32), np.linspace(0, 255, 12)),
        (np.linspace(-3e38, 3e38, 12, dtype=np.float32), np.linspace(0, 255, 12)),
        (np.array([np.nan, np.inf, -np.inf, 1] * 3, np.float32), np.array([0, 0, 0, 255] * 3)),
        (np.full(12, -7, np.float32), np.zeros(12)),
        (np.linspace(-1000, 100_000, 12).astype(np.int32), np.linspace(0, 255, 12)),
    ],
    ids=["0-1", "0-255", "0-65535", "huge", "nan", "constant", "int below 0"],
)
def test_deep_grey_fills_the_range_of_eight_bits(values, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        photograph = open_photograph(encoded(Image.fromarray(values.reshape(3, 4)), "TIFF"))
    assert photograph.mode == "RGB"
    np.testing.assert_allclose(np.asarray(photograph)[..., 1].ravel(), expected, atol=1)


# Transparency


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparent_pixels_become_white(kind):
    image = Image.new("RGBA", (40, 30), (200, 30, 30, 255))
    image.paste((0, 0, 0, 0), (0, 0, 20, 30))
    options = {"lossless": True} if kind == "WEBP" else {}
    pixels = np.asarray(open_photograph(encoded(image, kind, **options)))
    assert (pixels[:, :20] == 255).all() and (pixels[:, 20:] == (200, 30, 30)).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_transparent_grey_becomes_white(kind):
    image = Image.new("LA", (40, 30), (90, 255))
    image.paste((0, 0), (0, 0, 20, 30))
    pixels = np.asarray(open_photograph(encoded(image, kind)))
    assert (pixels[:, :20] == 255).all() and (pixels[:, 20:] == 90).all()


def test_grey_with_premultiplied_transparency_is_read():
    rows = bytes([60, 255, 0, 0]) * 4
    data = tiff_of(rows, t256=2, t257=4, t258=8, t259=1, t262=1, t273=0, t277=2, t278=4, t279=16, t338=1)
    pair = data.replace(struct.pack("<HHII", 258, 4, 1, 8), struct.pack("<HHIHH", 258, 3, 2, 8, 8))
    assert np.asarray(open_photograph(pair))[0, :, 0].tolist() == [60, 255]


def test_transparency_is_mixed_with_white():
    half = encoded(Image.new("RGBA", (4, 4), (0, 100, 200, 51)), "PNG")
    np.testing.assert_allclose(np.asarray(open_photograph(half))[0, 0], (204, 224, 244), atol=1)
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 100, 100, 100])
    palette.putpixel((1, 0), 1)
    pixels = np.asarray(open_photograph(encoded(palette, "PNG", transparency=bytes([0, 255]))))
    assert pixels[0, :, 0].tolist() == [255, 100]


@pytest.mark.parametrize("mode, colour", [("RGB", (1, 2, 3)), ("L", 7), ("1", 0), ("P", 0)])
def test_a_single_transparent_colour_becomes_white(mode, colour):
    data = encoded(Image.new(mode, (3, 3), colour), "PNG", transparency=colour)
    assert (np.asarray(open_photograph(data)) == 255).all()


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
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_exif_orientation_is_turned_upright(kind, orientation):
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    photograph = open_photograph(encoded(stored(picture(), orientation), kind, exif=exif_of(orientation), **options))
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


# Colour profiles


def display_p3() -> bytes:
    """sRGB's profile with the primaries of Display P3, adapted to D50; the transfer function is the same."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    primaries = {
        b"rXYZ": (0.51512, 0.24120, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.15710, 0.06657, 0.78407),
    }
    for i in range(struct.unpack_from(">I", profile, 128)[0]):
        name, offset, _ = struct.unpack_from(">4sII", profile, 132 + 12 * i)
        if name in primaries:
            struct.pack_into(">3i", profile, offset + 8, *(round(v * 65536) for v in primaries[name]))
    return bytes(profile)


@pytest.mark.parametrize(
    "kind, mode", [("JPEG", "RGB"), ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("WEBP", "RGB")]
)
def test_display_p3_is_shown_in_srgb(kind, mode):
    colour, expected = (180, 90, 80), (193, 83, 75)  # worked out from the chromaticities of the two standards
    options = {"lossless": True} if kind == "WEBP" else {"quality": 98, "subsampling": 0} if kind == "JPEG" else {}
    image = Image.new("RGB", (32, 32), colour)
    image = image.quantize(4) if mode == "P" else image.convert(mode)
    data = encoded(image, kind, icc_profile=display_p3(), **options)
    seen = np.asarray(open_photograph(data))[16, 16]
    np.testing.assert_allclose(seen, expected, atol=3)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_an_srgb_profile_changes_nothing(mode):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encoded(picture().convert(mode), "PNG", icc_profile=profile)
    assert distance(open_photograph(data), picture().convert(mode).convert("RGB")) <= 1


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
@pytest.mark.parametrize(
    "profile",
    [b"not a profile", bytes(3000), display_p3()[:200], display_p3()[:128] + bytes(400)],
    ids=["text", "zeros", "cut", "no tags"],
)
def test_a_broken_profile_is_ignored(mode, profile):
    image = picture().convert(mode)
    plain = open_photograph(encoded(image, "TIFF"))
    assert distance(open_photograph(encoded(image, "TIFF", icc_profile=profile)), plain) == 0


def test_a_giant_profile_is_ignored():
    image = Image.new("RGB", (32, 32), (180, 90, 80))
    kept, ignored = (encoded(image, "TIFF", icc_profile=display_p3().ljust(size, b"\0")) for size in (2**22, 2**22 + 1))
    assert distance(open_photograph(ignored), image) == 0 and distance(open_photograph(kept), image) > 1


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


@pytest.mark.parametrize("size", [(1, 1), (12_000, 1), (1, 12_000), (3, 224)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_a_picture_of_an_unusual_shape_is_read(kind, size):
    photograph = open_photograph(encoded(Image.new("RGB", size, (9, 9, 9)), kind))
    assert photograph.size == size and np.abs(np.asarray(photograph).astype(int) - 9).max() <= 2


# Refusals


@pytest.mark.parametrize("kind", ["ICO", "PPM", "EPS", "PDF", "JPEG2000", "AVIF"])
def test_other_formats_are_refused(kind):
    """By their first bytes: Pillow would start Ghostscript for an EPS file."""
    with pytest.raises(ImageError, match="not an image that can be read: send a JPEG, PNG, WebP, BMP, TIFF or GIF"):
        open_photograph(encoded(picture(64, 64), kind))


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


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_a_picture_without_pixels_is_refused(size):
    for data in png_of(*size), bmp_claiming(*size), jpeg_claiming(*size):
        with pytest.raises(ImageError):
            open_photograph(data)


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
