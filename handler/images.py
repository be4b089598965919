"""From the bytes of a photograph to the network's input, safely.

Decoding happens here and nowhere else, so that training, serving and tests see the same pixels.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

SIZE = 224
"""Side in pixels of the square that the network sees."""

MAX_PIXELS = 64_000_000
"""Largest width times height that is decoded; a 50-megapixel telephone photograph fits."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
"""Pillow's names of the formats that are read. JPEG includes MPO, as some cameras write it."""

Image.MAX_IMAGE_PIXELS = None  # our own limit, checked before decoding, replaces Pillow's warning


class ImageError(ValueError):
    """The bytes are no photograph that we read. Its message is for the person who sent them."""


def open_photograph(data: bytes) -> Image.Image:
    """Decode ``data`` into an upright 8-bit RGB photograph (first frame; transparency on white).

    Raises:
        ImageError: not an image of an allowed format, too many pixels, cut short or corrupt.
    """
    if not data:
        raise ImageError("the image is empty: send the bytes of a JPEG, PNG, WebP, BMP, TIFF or GIF file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about harmless faults in metadata
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ImageError(
                    f"the image has {width} x {height} pixels; at most {MAX_PIXELS // 1_000_000} million are read: "
                    "make it smaller"
                )
            # A large JPEG is decoded at 1/2, 1/4 or 1/8 where that still leaves twice what the network sees.
            image.draft(None, (2 * SIZE, 2 * SIZE))
            image.load()
            image = ImageOps.exif_transpose(image)
            return _to_rgb(image)
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(
            "not an image that can be read: send a JPEG, PNG, WebP, BMP, TIFF or GIF file "
            "(convert HEIC and RAW photographs to JPEG first)"
        ) from None
    except MemoryError:
        raise ImageError("the image is too large to decode: make it smaller") from None
    except Exception as error:  # Pillow's decoders raise many types on corrupt files (OSError, SyntaxError, struct.error…)
        raise ImageError(f"the image is damaged or cut short ({error}): save it again and resend it") from None


def network_square(photograph: Image.Image, size: int = SIZE) -> np.ndarray:
    """Shorter side to ``size``, centre square: ``uint8`` array of shape (size, size, 3).

    The square is cut in the same step as it is resized, so a 10,000 x 1 photograph never becomes a giant.
    """
    width, height = photograph.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    square = photograph.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return np.asarray(square)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _from_deep_grey(image)
    if image.mode in ("RGB", "CMYK", "L"):
        image = _to_srgb(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float greyscale: Pillow's own conversion clips everything over 255 to white."""
    values = np.nan_to_num(np.asarray(image).astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 65535:
        low, high = low, max(high, low + 1e-12)
    elif high <= 1 and image.mode == "F":
        low, high = 0.0, 1.0
    else:
        low, high = 0.0, 65535.0 if high > 255 else 255.0
    grey = np.clip((values - low) / (high - low) * 255 + 0.5, 0, 255).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def _to_srgb(image: Image.Image) -> Image.Image:
    """Colours as the photograph's own profile means them (telephones send Display P3); a bad profile is ignored."""
    profile = image.info.get("icc_profile")
    if not profile:
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
