"""From the bytes of a file to an upright RGB photograph, safely.

Files are decoded here and nowhere else, so that training, serving and the page see the same pixels.
"""

from __future__ import annotations

import io
import re
import warnings

import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

MIN_SHORT_SIDE = 896
"""Shorter side in pixels below which reading never shrinks a photograph: four times what the network sees."""

MAX_PIXELS = 64_000_000
"""Largest width times height that is decoded; a 50-megapixel telephone photograph fits."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
"""Pillow's names of the formats that are read. JPEG includes MPO, as some cameras write it."""

EXTENSIONS = ("jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "tif", "tiff", "gif")
"""What such files are usually called. What a file holds is judged by its content."""

MAX_SCANS = 100
"""Most scans of a progressive JPEG; cameras write about ten. A scan of a few bytes costs as much as a whole picture."""

Image.MAX_IMAGE_PIXELS = None  # our own limit, checked before decoding, replaces Pillow's warning
warnings.filterwarnings("ignore", module=r"PIL\.")  # harmless faults in metadata

# A marker of a JPEG that is followed by the length of its segment: no stuffed 00, TEM, RST or SOI.
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
"""The transposition that makes a photograph of each EXIF orientation upright."""


class ImageError(ValueError):
    """The bytes are not a photograph that we read. The message is for the person who sent them."""


def open_photograph(data: bytes) -> Image.Image:
    """Decode ``data`` into an upright 8-bit RGB photograph (first frame; transparency on white).

    A large photograph is shrunk by a whole factor, its shorter side staying at :data:`MIN_SHORT_SIDE` or more: time and
    memory stay bounded, and the network sees no difference.

    Raises:
        ImageError: not an image of an allowed format, too many pixels, cut short or corrupt.
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
    """Refuse what is small as a file and enormous once decoded, from what its header says."""
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"the image has {width} x {height} pixels: there is nothing to see")
    tags = getattr(image, "tag_v2", {})  # a TIFF's tile may be larger than its picture
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
    """How many scans a JPEG has, whatever bytes its metadata holds and whatever follows its end."""
    scans, position = 0, 2
    while match := _MARKER.search(data, position):
        if match[1] == _END_OF_IMAGE:
            break
        scans += match[1] == _START_OF_SCAN
        position = match.end() + int.from_bytes(data[match.end() : match.end() + 2])
    return scans


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none or none that can be read. (Pillow turns a TIFF by itself.)"""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata makes no photograph unreadable
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
    """What ``draft`` does for a JPEG, for every format."""
    factor = min(image.size) // MIN_SHORT_SIDE
    return image.reduce(factor) if factor > 1 else image


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float greyscale: Pillow's own conversion clips everything over 255 to white."""
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
    """Colours as the photograph's own profile means them (telephones send Display P3); a bad profile is ignored."""
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
