"""Colours as files declare them, converted to 8-bit sRGB as browsers do.

An ICC profile counts in every format; in a PNG, so do cICP, sRGB, gAMA and cHRM, in the order of precedence of the PNG
specification (third edition, 2025, section 4.3), and in a HEIC file the primaries of its nclx. EXIF's colour space is
ignored, as browsers ignore it.
"""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image, ImageCms, ImageFilter

from api.limits import MAX_PROFILE

BACKGROUND_SAMPLE = 128
"""Pixels, at most, of each side of the copy in which the colour behind transparent parts is chosen."""

SRGB_CHROMATICITIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
"""x and y of white, red, green and blue, in the order of a PNG's cHRM."""

_PRIMARIES = {
    1: SRGB_CHROMATICITIES,
    9: (0.3127, 0.329, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),  # BT.2020
    12: (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),  # Display P3
}
"""Chromaticities by ITU-T H.273's number of the primaries."""
_LIKE_SRGB = (1, 6, 13, 14, 15)
"""H.273's transfer functions that browsers show as sRGB's: not those of HDR."""

_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D50 = np.array([0.9642, 1.0, 0.8249])
"""XYZ of the white of ICC profiles."""


def on_background(image: Image.Image) -> Image.Image:
    """An RGBA picture composited onto the median colour of the opaque pixels next to transparent ones, usually skin.

    Of 210 training photographs with a transparent surrounding (a circle; the lesion with a margin; the lesion alone),
    90, 89 and 81 % keep their diagnosis on this colour, and 68, 81 and 66 % on white.
    """
    width, height = (min(side, BACKGROUND_SAMPLE) for side in image.size)
    small = image.resize((width, height), Image.Resampling.NEAREST)
    opaque = small.getchannel("A").point(lambda alpha: 255 * (alpha >= 128))
    edge = (np.asarray(opaque) > 0) & (np.asarray(opaque.filter(ImageFilter.MinFilter(5))) == 0)
    pixels = np.asarray(small)[edge if edge.any() else np.asarray(opaque) > 0, :3]
    colour = tuple(np.median(pixels, axis=0).astype(int).tolist()) if len(pixels) else (255, 255, 255)
    background = Image.new("RGB", image.size, colour)
    background.paste(image, mask=image)
    return background


def from_deep_grey(image: Image.Image) -> Image.Image:
    """8-bit greyscale from 16-bit, 32-bit and float greyscale, where Pillow's conversion would clip values over 255.

    Whole numbers are scaled by the smallest usual depth that holds them all, from 8 to 16 bits: cameras and microscopes
    put 10, 12 or 14 bits into 16.
    """
    is_float = image.mode == "F"
    values = np.array(image if image.mode in ("I", "F") else image.convert("I"), np.float32)
    np.nan_to_num(values, copy=False, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 65535:
        depth = next(bits for bits in (8, 10, 12, 14, 16) if high < 2**bits)
        low, high = 0.0, 1.0 if is_float and high <= 1 else float(2**depth - 1)
    scale = 255 / (high - low) if high > low else 0.0
    values *= scale  # in place: the array may be large
    values += 0.5 - low * scale
    return Image.fromarray(values.clip(0, 255, out=values).astype(np.uint8))


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert colours from the photograph's profile (phones use Display P3) to sRGB; an invalid profile is ignored."""
    if not profile or len(profile) > MAX_PROFILE:
        return image
    try:
        converted = ImageCms.profileToProfile(
            image,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            outputMode="RGB",
        )
        return image if converted is None else converted
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image


def declared_profile(image: Image.Image, data: bytes) -> bytes | None:
    """The colours that a HEIC or PNG file declares by other means than an ICC profile, as such a profile.

    None if they are sRGB, unknown or not declared, or if the ICC profile has precedence.
    """
    primaries = transfer = 0
    if nclx := image.info.get("nclx_profile"):
        primaries, transfer = nclx["color_primaries"], nclx["transfer_characteristics"]
    elif image.format == "PNG" and (start := data.find(b"cICP", 0, data.find(b"IDAT"))) >= 0:
        primaries, transfer = data[start + 4 : start + 6]
    if primaries in _PRIMARIES and transfer in _LIKE_SRGB:
        return matrix_profile(_PRIMARIES[primaries])
    if image.format != "PNG" or "srgb" in image.info or "icc_profile" in image.info:
        return None
    gamma = image.info.get("gamma", 0)
    if not 0.1 <= gamma <= 10 or 0.43 < gamma < 0.48:  # 1 / 2.2, which means sRGB
        gamma = None
    return matrix_profile(tuple(image.info.get("chromaticity", SRGB_CHROMATICITIES)), gamma)


def matrix_profile(chromaticities: tuple[float, ...], gamma: float | None = None) -> bytes | None:
    """An ICC profile of these chromaticities.

    Args:
        chromaticities: x and y of white, red, green and blue.
        gamma: the exponent by which light was encoded, such as 1 / 2.2; sRGB's own curve if None.

    Returns:
        None if the result would be sRGB, or if there are no such colours.
    """
    same = np.allclose(chromaticities, SRGB_CHROMATICITIES, atol=2e-3)
    if gamma is None and same:
        return None
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    try:
        columns = _to_d50(chromaticities).T
        colours = {b"rXYZ": columns[0], b"gXYZ": columns[1], b"bXYZ": columns[2]}
        (tags,) = struct.unpack_from(">I", profile, 128)
        for i in range(tags):
            name, offset, _ = struct.unpack_from(">4sII", profile, 132 + 12 * i)
            if name in colours and not same:
                struct.pack_into(">3i", profile, offset + 8, *(round(value * 65536) for value in colours[name]))
            elif name in (b"rTRC", b"gTRC", b"bTRC") and gamma is not None:
                # Parameters g, a, b, c, d of ICC's function 3: (a x + b)^g from d on.
                struct.pack_into(">5i", profile, offset + 12, round(65536 / gamma), 65536, 0, 0, 0)
    except (ValueError, ArithmeticError, struct.error, np.linalg.LinAlgError):
        return None
    return bytes(profile)


def _to_d50(chromaticities: tuple[float, ...]) -> np.ndarray:
    """The matrix (3, 3) from linear RGB to XYZ, its white adapted to D50 by Bradford's method."""
    points = zip(chromaticities[::2], chromaticities[1::2], strict=True)
    white, *primaries = (np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in points)
    columns = np.stack(primaries, axis=1)
    matrix = columns * np.linalg.solve(columns, white)
    adapted = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))
    return np.linalg.inv(_BRADFORD) @ adapted @ _BRADFORD @ matrix
