"""Decoding of every kind of file: upright RGB or a clear error, within bounded time and memory."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from api.photograph import ImageError, Square, open_photograph
from tests.conftest import ROOT
from tests.hostile_photographs import (
    bmp_claiming,
    jpeg_claiming,
    png_of,
    tiff_of,
)
from tests.pictures import distance, encoded, noise, picture

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
        (np.linspace(-3, 8, 12, dtype=np.float32), np.linspace(0, 255, 12)),
        (np.linspace(-3e38, 3e38, 12, dtype=np.float32), np.linspace(0, 255, 12)),
        (np.array([np.nan, np.inf, -np.inf, 1] * 3, np.float32), np.array([0, 0, 0, 255] * 3)),
        (np.full(12, -7, np.float32), np.zeros(12)),
        (np.full(12, 70_000, np.int32), np.zeros(12)),
        (np.linspace(0, 65535, 12).astype(np.int32), np.linspace(0, 255, 12)),
        (np.linspace(-1000, 100_000, 12).astype(np.int32), np.linspace(0, 255, 12)),
    ],
    ids=["0-1", "0-255", "0-65535", "below 0", "huge", "nan", "constant", "int constant", "int", "int below 0"],
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


def test_half_transparent_pixels_are_mixed_with_white():
    data = encoded(Image.new("RGBA", (4, 4), (0, 100, 200, 51)), "PNG")
    np.testing.assert_allclose(np.asarray(open_photograph(data))[0, 0], (204, 224, 244), atol=1)


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


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_colour_of_a_palette_becomes_white(kind):
    image = Image.new("P", (40, 30), 1)
    image.putpalette([0, 0, 0, 10, 140, 90])
    image.paste(0, (0, 0, 20, 30))
    pixels = np.asarray(open_photograph(encoded(image, kind, transparency=0)))
    assert (pixels[:, :20] == 255).all() and (pixels[:, 20:] == (10, 140, 90)).all()


def test_a_palette_with_a_transparency_for_each_colour_is_mixed_with_white():
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 100, 100, 100])
    image.putpixel((1, 0), 1)
    pixels = np.asarray(open_photograph(encoded(image, "PNG", transparency=bytes([0, 255]))))
    assert pixels[0, :, 0].tolist() == [255, 100]


@pytest.mark.parametrize("mode, colour", [("RGB", (1, 2, 3)), ("L", 7), ("1", 0)])
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
@pytest.mark.parametrize("kind", ["JPEG", "MPO", "PNG", "WebP, lossless", "TIFF", "TIFF, LZW"])
def test_every_exif_orientation_is_turned_upright(kind, orientation):
    options = {
        "JPEG": {"quality": 95, "subsampling": 0},
        "MPO": {"quality": 95, "subsampling": 0},
        "WebP, lossless": {"lossless": True},
        "TIFF, LZW": {"compression": "tiff_lzw"},
    }.get(kind, {})
    file = stored(picture(), orientation)
    data = encoded(file, kind.split(",")[0].upper(), exif=exif_of(orientation), **options)
    photograph = open_photograph(data)
    assert photograph.size == (64, 48)
    assert distance(photograph, picture()) < 3


@pytest.mark.parametrize("orientation", [6, 7])
def test_a_large_photograph_is_turned_too(orientation):
    upright = noise(3200, 2400, 200)
    data = encoded(stored(upright, orientation), "JPEG", quality=95, exif=exif_of(orientation))
    photograph = open_photograph(data)
    assert photograph.size == (1600, 1200)
    assert distance(photograph, upright.reduce(2)) < 2


@pytest.mark.parametrize("value", [0, 9, 255, 65535])
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
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
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


def p3_to_srgb(colour: tuple[int, int, int]) -> np.ndarray:
    """Worked out from the two standards' chromaticities (both D65)."""

    def to_xyz(red, green, blue, white=(0.3127, 0.3290)):
        columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in (red, green, blue)]).T
        target = np.array([white[0] / white[1], 1, (1 - sum(white)) / white[1]])
        return columns * np.linalg.solve(columns, target)

    p3 = to_xyz((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
    srgb = to_xyz((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
    value = np.array(colour) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.linalg.solve(srgb, p3 @ linear), 0, 1)
    return 255 * np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize(
    "kind, mode", [("JPEG", "RGB"), ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("WEBP", "RGB")]
)
@pytest.mark.parametrize("colour", [(180, 90, 80), (120, 160, 90), (230, 190, 170)])
def test_display_p3_is_shown_in_srgb(kind, mode, colour):
    options = {"lossless": True} if kind == "WEBP" else {"quality": 98, "subsampling": 0} if kind == "JPEG" else {}
    image = Image.new("RGB", (32, 32), colour)
    image = image.quantize(4) if mode == "P" else image.convert(mode)
    data = encoded(image, kind, icc_profile=display_p3(), **options)
    seen = np.asarray(open_photograph(data))[16, 16]
    assert np.abs(p3_to_srgb(colour) - colour).max() > 4  # else the test could not fail
    np.testing.assert_allclose(seen, p3_to_srgb(colour), atol=3)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_an_srgb_profile_changes_nothing(mode):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encoded(picture().convert(mode), "PNG", icc_profile=profile)
    assert distance(open_photograph(data), picture().convert(mode).convert("RGB")) <= 1


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
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


# Refusals


@pytest.mark.parametrize(
    "kind",
    ["ICO", "PPM", "TGA", "ICNS", "EPS", "PDF", "PCX", "SGI", "DDS", "IM", "MSP", "XBM", "JPEG2000", "AVIF", "SPIDER"],
)
def test_other_formats_are_refused(kind):
    image = picture(64, 64)
    if kind in ("MSP", "XBM"):
        image = image.convert("1")
    if kind == "SPIDER":
        image = image.convert("F")
    with pytest.raises(ImageError, match="not an image that can be read: send a JPEG, PNG, WebP, BMP, TIFF or GIF"):
        open_photograph(encoded(image, kind))


def test_an_eps_file_does_not_start_ghostscript(tmp_path, monkeypatch):
    started = tmp_path / "started"
    gs = tmp_path / "gs"
    gs.write_text(f"#!/bin/sh\necho 10.0\ntouch '{started}'\n")
    gs.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert subprocess.run(["gs", "--version"], capture_output=True).stdout == b"10.0\n" and started.exists()
    started.unlink()
    with pytest.raises(ImageError):
        open_photograph(encoded(picture(), "EPS"))
    assert not started.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"hello",
        b"C'est une photo.",
        b"\0",
        b"\xff\xd8",
        b"<svg xmlns='http://www.w3.org/2000/svg' width='10' height='10'><rect width='10' height='10'/></svg>",
        b"<!DOCTYPE html><html></html>",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200),
        b"%PDF-1.7",
        b"PK\x03\x04" + bytes(100),
        bytes(100_000),
    ],
    ids=["text", "accents", "one byte", "two bytes of JPEG", "SVG", "HTML", "HEIC", "PDF", "ZIP", "zeros"],
)
def test_bytes_that_are_no_image_are_refused(data):
    with pytest.raises(ImageError) as caught:
        open_photograph(data)
    assert "send a JPEG, PNG, WebP, BMP, TIFF or GIF file" in str(caught.value) or "damaged" in str(caught.value)


def test_an_empty_file_is_refused():
    with pytest.raises(ImageError, match="the image is empty"):
        open_photograph(b"")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.85])
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


def test_damaged_files_raise_only_image_error():
    rng = np.random.default_rng(7)
    small = noise(40, 30, grain=3)
    originals = [make(small) for make in FILES.values()]
    originals += [encoded(small, "GIF"), encoded(small.convert("P"), "PNG", transparency=3, icc_profile=display_p3())]
    originals += [encoded(small, "JPEG", exif=exif_of(6), icc_profile=display_p3())]
    read = refused = 0
    started = time.monotonic()
    for original in originals:
        for _ in range(25):
            data = bytearray(original)
            for _ in range(int(rng.integers(1, 12))):
                # Half of the damage is in the header, which matters most.
                at = int(rng.integers(0, min(120, len(data)) if rng.random() < 0.5 else len(data)))
                match rng.integers(5):
                    case 0:
                        data[at] = int(rng.integers(256))
                    case 1:
                        data[at : at + 4] = b"\xff\xff\xff\xff"
                    case 2:
                        del data[at : at + int(rng.integers(1, 30))]
                    case 3:
                        data[at:at] = rng.bytes(int(rng.integers(1, 30)))
                    case 4:
                        data[at] ^= 1 << int(rng.integers(8))
                if len(data) < 2:
                    break
            try:
                photograph = open_photograph(bytes(data))
            except ImageError as error:
                refused += 1
                assert len(str(error)) < 250
            else:
                read += 1
                assert photograph.mode == "RGB" and min(photograph.size) > 0
    assert read > 50 and refused > 50  # the damage was neither harmless nor fatal throughout
    assert (time.monotonic() - started) / (read + refused) < 0.1


def test_random_bytes_behind_a_signature_are_refused():
    rng = np.random.default_rng(3)
    for signature in (
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\x40\0\0\0WEBPVP8 ",
        b"BM",
        b"II*\0",
        b"MM\0*",
        b"GIF89a",
    ):
        for _ in range(20):
            with pytest.raises(ImageError):
                open_photograph(signature + rng.bytes(int(rng.integers(0, 400))))


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


def test_compressed_text_in_a_png_is_harmless():
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "x" * 50_000, zip=True)
    assert distance(open_photograph(encoded(picture(), "PNG", pnginfo=text)), picture()) == 0


def test_pillows_limit_for_the_whole_process_is_left_as_it_is():
    code = "from PIL import Image; limit = Image.MAX_IMAGE_PIXELS; import api.photograph as p; p.open_photograph({!r})"
    code = f"{code.format(encoded(picture(), 'JPEG'))}; assert Image.MAX_IMAGE_PIXELS == limit > 0"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((600, 450), (75, 0, 525, 450)),
        ((450, 600), (0, 75, 450, 525)),
        ((301, 200), (50, 0, 250, 200)),
        ((200, 200), (0, 0, 200, 200)),
    ],
)
def test_the_square_is_in_the_centre(size: tuple[int, int], box: tuple[int, int, int, int]):
    assert Square.of(size).box == box
