"""Colours as files declare them, converted to 8-bit sRGB as browsers do.

An ICC profile counts in every format; in a PNG, so do cICP, sRGB, gAMA and cHRM, in the order of precedence of the PNG
specification (third edition, 2025, section 4.3). EXIF's colour space is ignored, as browsers ignore it.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms, ImageFilter

from api.limits import MAX_PROFILE

BACKGROUND_SAMPLE = 128
"""Pixels of the longer side at which the colour behind transparent parts is chosen."""

SRGB_GAMMA = 1 / 2.2
SRGB_CHROMATICITIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
"""x and y of white, red, green and blue, in the order of a PNG's cHRM."""

_CICP_PRIMARIES = {
    1: SRGB_CHROMATICITIES,
    9: (0.3127, 0.329, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),  # BT.2020
    12: (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),  # Display P3
}
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


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


def declared_by_png(image: Image.Image, data: bytes) -> tuple[float | None, tuple[float, ...]]:
    """Gamma (None: sRGB's own curve) and chromaticities that a PNG without an ICC profile declares."""
    cicp = data.find(b"cICP", 8, data.find(b"IDAT"))
    if cicp > 0 and (primaries := _CICP_PRIMARIES.get(data[cicp + 4])) and data[cicp + 5] in (1, 6, 13, 14, 15):
        return None, primaries
    if "srgb" in image.info:
        return None, SRGB_CHROMATICITIES
    gamma = image.info.get("gamma")
    chromaticities = tuple(image.info.get("chromaticity", SRGB_CHROMATICITIES))
    if gamma is None or not 0.1 <= gamma <= 10 or abs(gamma / SRGB_GAMMA - 1) < 0.05:
        gamma = None
    return gamma, chromaticities


def from_chromaticities(image: Image.Image, gamma: float | None, chromaticities: tuple[float, ...]) -> Image.Image:
    """An RGB picture of this gamma and these primaries in sRGB; as it is where they make no difference or no sense."""
    same = np.allclose(chromaticities, SRGB_CHROMATICITIES, atol=2e-3)
    if gamma is None and same:
        return image
    levels = np.arange(256) / 255
    table = (
        levels ** (1 / gamma)
        if gamma
        else np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    )
    linear = table.astype(np.float32)[np.asarray(image)]
    if not same:
        try:
            linear = linear @ (np.linalg.inv(_to_xyz(SRGB_CHROMATICITIES)) @ _to_xyz(chromaticities)).T.astype(
                np.float32
            )
        except (np.linalg.LinAlgError, ZeroDivisionError):
            return image
        linear = linear.clip(0, 1)
    encoded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return Image.fromarray((encoded * 255 + 0.5).astype(np.uint8))


def _to_xyz(chromaticities: tuple[float, ...]) -> np.ndarray:
    """The matrix (3, 3) from linear RGB to XYZ, its white adapted to that of sRGB by Bradford's method."""
    points = zip(chromaticities[::2], chromaticities[1::2], strict=True)
    white, *primaries = (np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in points)
    columns = np.stack(primaries, axis=1)
    matrix = columns * np.linalg.solve(columns, white)
    x, y = SRGB_CHROMATICITIES[:2]
    cones, wanted = _BRADFORD @ white, _BRADFORD @ [x / y, 1.0, (1 - x - y) / y]
    return np.linalg.inv(_BRADFORD) @ np.diag(wanted / cones) @ _BRADFORD @ matrix
