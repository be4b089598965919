"""Safe decoding of image files into upright RGB photographs.

Training, serving and the page all decode here, so that they see the same pixels.
"""

from __future__ import annotations

import io
import re
import warnings

import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

MIN_SHORT_SIDE = 896
"""A photograph is never shrunk below this shorter side, in pixels: four times the network's input."""

MAX_PIXELS = 64_000_000
"""Limit on width times height; a 50-megapixel phone photograph fits."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
"""Accepted formats, by Pillow's names. JPEG includes the MPO files of some cameras."""

EXTENSIONS = ("jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "tif", "tiff", "gif")
"""Usual extensions of these formats, for file pickers. The format itself is recognised by content."""

MAX_SCANS = 100
"""Limit on the scans of a progressive JPEG; cameras write about ten. Even a scan of a few bytes costs a full decode."""

Image.MAX_IMAGE_PIXELS = None  # _check_cost enforces our own limit
warnings.filterwarnings("ignore", module=r"PIL\.")  # harmless faults in metadata

# A JPEG marker with a length field, so not a stuffed 00, TEM, RST or SOI; EOI has none but ends the search.
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")
_START_OF_SCAN, _END_OF_IMAGE = b"\xda", b"\xd9"

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that turns a photograph upright, by EXIF orientation."""


class ImageError(ValueError):
    """The bytes are not an acceptable photograph. The message is for the sender."""


def open_photograph(data: bytes) -> Image.Image:
    """Decode the first frame of ``data`` into an upright 8-bit RGB photograph, transparency on white.

    A large photograph is shrunk by an integer factor to a shorter side of at least :data:`MIN_SHORT_SIDE`. This bounds
    time and memory, and makes no difference to the network.

    Raises:
        ImageError: not an image, of another format, too large, truncated or corrupt.
    """
    if not data:
        raise ImageError("the image is empty: send the bytes of a JPEG, PNG, WebP, BMP, TIFF or GIF file")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        _check_cost(image, data)
        image.draft(None, (MIN_SHORT_SIDE, MIN_SHORT_SIDE))  # a JPEG is shrunk while it is decoded, by 2, 4 or 8
        image.load()
        orientation = _orientation(image)
        photograph = _to_rgb(image)
        return photograph.transpose(_TURNS[orientation]) if orientation in _TURNS else photograph
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(
            "not an image that can be read: send a JPEG, PNG, WebP, BMP, TIFF or GIF file "
            "(convert HEIC and RAW photographs to JPEG first)"
        ) from None
    except MemoryError:
        raise ImageError("the image is too large to decode: make it smaller") from None
    except Exception as error:  # Pillow raises many types on corrupt files: OSError, SyntaxError, struct.error…
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise ImageError(f"the image is damaged or cut short ({reason}): save it again and resend it") from None


def _check_cost(image: Image.Image, data: bytes) -> None:
    """Refuse decompression bombs, before decoding.

    Raises:
        ImageError: no pixels, too many pixels, or too many scans.
    """
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"the image has {width} x {height} pixels: there is nothing to see")
    tags = getattr(image, "tag_v2", {})  # tile width and height of a TIFF, which may exceed the picture's
    tile = int(tags.get(322, 1)) * int(tags.get(323, 1))
    if max(width * height, tile) > MAX_PIXELS:
        raise ImageError(
            f"the image has {width} x {height} pixels{'' if tile <= MAX_PIXELS else ' in larger tiles'}; at most "
            f"{MAX_PIXELS // 1_000_000} million are read: make it smaller"
        )
    if image.format in ("JPEG", "MPO") and data.count(b"\xff" + _START_OF_SCAN) > MAX_SCANS:
        scans = _count_scans(data)
        if scans > MAX_SCANS:
            raise ImageError(f"the image is a JPEG of {scans} scans; at most {MAX_SCANS} are read: save it again")


def _count_scans(data: bytes) -> int:
    """Number of scans of a JPEG, ignoring bytes that look like scans in metadata or after its end."""
    scans, position = 0, 2
    while match := _MARKER.search(data, position):
        if match[1] == _END_OF_IMAGE:
            break
        scans += match[1] == _START_OF_SCAN
        position = match.end() + int.from_bytes(data[match.end() : match.end() + 2])
    return scans


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation; 1 (upright) if it is missing or unreadable. Pillow itself turns TIFF files."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata is no reason to refuse a photograph
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image, profile = _from_deep_grey(image), None
    elif image.mode in ("PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    elif image.mode == "La":
        image = image.convert("LA")
    elif image.mode not in ("RGB", "RGBA", "L", "LA", "CMYK"):
        image = image.convert("RGB")
    image = _shrink(image)
    if image.mode in ("RGBA", "LA"):
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        image = white
    return _to_srgb(image, profile).convert("RGB")


def _shrink(image: Image.Image) -> Image.Image:
    """Shrink a large image of any format, as ``draft`` does a JPEG."""
    factor = min(image.size) // MIN_SHORT_SIDE
    return image.reduce(factor) if factor > 1 else image


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """8-bit greyscale from 16-bit, 32-bit and float greyscale, where Pillow's conversion would clip values over 255."""
    is_float = image.mode == "F"
    image = _shrink(image if image.mode in ("I", "F") else image.convert("I"))
    values = np.array(image, np.float32)
    np.nan_to_num(values, copy=False, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 65535:
        low, high = 0.0, 1.0 if is_float and high <= 1 else 255.0 if high <= 255 else 65535.0
    scale = 255 / (high - low) if high > low else 0.0
    values *= scale  # in place: the array may be large
    values += 0.5 - low * scale
    return Image.fromarray(values.clip(0, 255, out=values).astype(np.uint8))


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert colours from the photograph's profile (phones use Display P3) to sRGB; an invalid profile is ignored."""
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
