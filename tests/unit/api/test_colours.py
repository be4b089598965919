"""Colours: transparency, depth, profiles, and what else files declare about them."""

from __future__ import annotations

import struct
import warnings

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw

from api.photograph import ImageError, open_photograph
from tests.hostile_photographs import chunk, png_of, tiff_of, within
from tests.pictures import distance, encoded, heic, picture

# Transparency

SKIN, LESION = (200, 150, 140), (90, 50, 40)


def dermatoscope(mode: str) -> Image.Image:
    """A lesion on a disc of skin, with nothing around it."""
    image = Image.new("RGBA", (200, 160), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.ellipse((20, 20, 180, 140), fill=(*SKIN, 255))
    draw.ellipse((70, 50, 130, 110), fill=(*LESION, 255))
    return image.convert(mode)


@pytest.mark.parametrize(
    "kind, mode",
    [("PNG", "RGBA"), ("PNG", "LA"), ("WEBP", "RGBA"), ("TIFF", "RGBA"), ("GIF", "RGBA"), ("HEIF", "RGBA")],
)
def test_a_transparent_background_gets_the_colour_of_the_skin_next_to_it(kind, mode):
    image = dermatoscope(mode)
    data = heic(image) if kind == "HEIF" else encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    pixels = np.asarray(open_photograph(data)).astype(int)
    opaque = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(pixels[2, 2] - opaque[60, 40]).max() <= 8
    assert np.abs(pixels[60, 40] - opaque[60, 40]).max() <= 8
    assert np.abs(pixels[80, 100] - opaque[80, 100]).max() <= 8


def test_a_single_transparent_colour_is_filled_too():
    image = Image.new("RGB", (64, 64), SKIN)
    image.paste((1, 2, 3), (0, 0, 20, 64))
    for opened in (
        open_photograph(encoded(image, "PNG", transparency=(1, 2, 3))),
        open_photograph(encoded(image.quantize(2), "PNG", transparency=image.quantize(2).getpixel((0, 0)))),
    ):
        assert np.abs(np.asarray(opened).astype(int) - SKIN).max() <= 2


def test_half_transparent_pixels_are_mixed_with_the_fill():
    image = Image.new("RGBA", (64, 64), (*SKIN, 255))
    image.paste((0, 0, 0, 0), (0, 0, 30, 64))
    image.paste((0, 0, 0, 51), (30, 0, 40, 64))
    seen = np.asarray(open_photograph(encoded(image, "PNG")))[32, 35]
    np.testing.assert_allclose(seen, np.array(SKIN) * 0.8, atol=1)


def test_grey_with_premultiplied_transparency_is_read():
    row = bytes([60, 255] * 32 + [0, 0] * 32)
    tags = dict(t256=64, t257=32, t258=8, t259=1, t262=1, t273=0, t277=2, t278=32, t279=4096, t338=1)
    pair = tiff_of(row * 32, **tags).replace(struct.pack("<HHII", 258, 4, 1, 8), struct.pack("<HHIHH", 258, 3, 2, 8, 8))
    assert (np.asarray(open_photograph(pair)) == 60).all()


def test_a_picture_without_opaque_pixels_is_white():
    assert open_photograph(encoded(Image.new("RGBA", (32, 32)), "PNG")).getextrema() == ((255, 255),) * 3


# Depth


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


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_fewer_bits_of_grey_in_sixteen_are_scaled(bits):
    """As cameras and microscopes write them; with the full range of 16 bits they would be nearly black."""
    ramp = np.linspace(0, 2**bits - 1, 64 * 48).reshape(48, 64)
    photograph = open_photograph(encoded(Image.fromarray(ramp.astype(np.uint16)), "TIFF"))
    assert distance(photograph, np.repeat((ramp / ramp.max() * 255)[..., None], 3, axis=2)) < 1


@pytest.mark.parametrize(
    "values, expected",
    [
        (np.linspace(0, 1, 1024, dtype=np.float32), np.linspace(0, 255, 1024)),
        (np.linspace(0, 255, 1024, dtype=np.float32), np.linspace(0, 255, 1024)),
        (np.linspace(0, 65535, 1024, dtype=np.float32), np.linspace(0, 255, 1024)),
        (np.linspace(-3e38, 3e38, 1024, dtype=np.float32), np.linspace(0, 255, 1024)),
        (np.array([np.nan, np.inf, -np.inf, 1] * 256, np.float32), np.array([0, 0, 0, 255] * 256)),
        (np.full(1024, -7, np.float32), np.zeros(1024)),
        (np.linspace(-1000, 100_000, 1024).astype(np.int32), np.linspace(0, 255, 1024)),
    ],
    ids=["0-1", "0-255", "0-65535", "huge", "nan", "constant", "int below 0"],
)
def test_deep_grey_fills_the_range_of_eight_bits(values, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        photograph = open_photograph(encoded(Image.fromarray(values.reshape(32, 32)), "TIFF"))
    assert photograph.mode == "RGB"
    np.testing.assert_allclose(np.asarray(photograph)[..., 1].ravel(), expected, atol=1)


@pytest.mark.parametrize("bits, read", [(12, False), (14, False), (16, True)])
def test_colours_of_fewer_bits_in_sixteen_are_refused_as_they_would_be_black(bits, read):
    row = b"\0" + b"".join(struct.pack(">3H", *(int(x / 63 * (2**bits - 1)),) * 3) for x in range(64))
    data = png_of(64, 64, rows=row * 64, bits=16, colour=2)
    if read:
        np.testing.assert_allclose(np.asarray(open_photograph(data))[5, :, 1], np.linspace(0, 255, 64), atol=1)
    else:
        with pytest.raises(ImageError, match="16 bits, of which the upper ones are empty"):
            open_photograph(data)


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


# Colours that a file declares without a profile

COLOUR, FROM_P3 = (180, 90, 80), (193, 83, 75)
"""A colour of Display P3, and the same in sRGB, worked out from the chromaticities of the two standards."""
P3 = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
SRGB_CHUNK = chunk(b"sRGB", b"\0")


def declared(*chunks: bytes, colour: tuple[int, int, int] = COLOUR, mode: str = "RGB") -> np.ndarray:
    """What is seen of a PNG of one colour with these chunks."""
    data = encoded(Image.new("RGB", (32, 32), colour).convert(mode), "PNG")
    return np.asarray(open_photograph(within(data, 33, b"".join(chunks))))[16, 16]


def test_chromaticities_of_a_png_are_converted():
    np.testing.assert_allclose(declared(chunk(b"cHRM", P3)), FROM_P3, atol=1)


def test_cicp_of_a_png_is_converted_and_has_precedence():
    display_p3_cicp = chunk(b"cICP", bytes([12, 13, 0, 1]))
    np.testing.assert_allclose(declared(display_p3_cicp, SRGB_CHUNK), FROM_P3, atol=1)
    hdr = chunk(b"cICP", bytes([9, 16, 0, 1]))
    assert declared(hdr).tolist() == list(COLOUR)


@pytest.mark.parametrize("mode, colour", [("RGB", (140, 60, 20)), ("L", (100, 100, 100)), ("P", (153, 51, 51))])
@pytest.mark.parametrize("gamma", [1.0, 0.55])
def test_gamma_of_a_png_is_converted(gamma, mode, colour):
    linear = (np.array(colour) / 255) ** (1 / gamma)
    expected = 255 * np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    seen = declared(chunk(b"gAMA", struct.pack(">I", round(gamma * 1e5))), colour=colour, mode=mode)
    assert np.abs(expected - colour).max() > 15
    np.testing.assert_allclose(seen, expected, atol=1.5)


@pytest.mark.parametrize(
    "chunks",
    [
        [SRGB_CHUNK, chunk(b"gAMA", struct.pack(">I", 100_000)), chunk(b"cHRM", P3)],
        [chunk(b"gAMA", struct.pack(">I", 45_455))],
        [chunk(b"gAMA", bytes(4))],
        [chunk(b"cHRM", bytes(32))],
        [chunk(b"cHRM", struct.pack(">8I", *[31270, 32900] * 4))],
        [chunk(b"cHRM", b"\xff" * 32)],
    ],
    ids=["sRGB has precedence", "usual gamma", "gamma of 0", "zeros", "one point", "out of range"],
)
def test_declarations_that_change_nothing_or_make_no_sense(chunks):
    assert declared(*chunks).tolist() == list(COLOUR)


def test_display_p3_in_heic_is_shown_in_srgb():
    image = Image.new("RGB", (64, 64), COLOUR)
    by_number = heic(image, color_primaries=12, transfer_characteristics=13)
    by_profile = heic(image, icc_profile=display_p3())
    for data in by_number, by_profile:
        np.testing.assert_allclose(np.asarray(open_photograph(data))[32, 32], FROM_P3, atol=4)
