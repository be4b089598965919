"""Safe decoding of image files into upright RGB photographs.

Training, serving and the page all decode here, so that they see the same pixels.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile
from pillow_heif import open_heif

from api.colour import declared_profile, from_deep_grey, on_background, to_srgb
from api.errors import ErrorCode
from api.jpeg import strip_metadata
from api.limits import (
    DAMAGED,
    KINDS,
    MAX_EXIF,
    MAX_PIXELS,
    MAX_SENT_BYTES,
    MAX_WEBP_PIXELS,
    MAX_WHOLE_BYTES,
    MAX_WHOLE_PIXELS,
    NOT_AN_IMAGE,
    RAW,
    RAW_SIGNATURES,
    ImageError,
    check_size,
)
from api.structure import check_gif, check_png, check_tiff, check_webp

__all__ = ["EXTENSIONS", "FORMATS", "MIN_SHORT_SIDE", "ImageError", "Square", "open_photograph", "to_send"]

MIN_SHORT_SIDE = 896
"""A photograph is never shrunk below this shorter side, in pixels: four times the network's input; or below half of it
if it is over four times as long as wide."""

_SIGNATURES = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "WEBP": (b"RIFF",),
    "BMP": (b"BM",),
    "TIFF": (b"II", b"MM"),
    "GIF": (b"GIF87a", b"GIF89a"),
}

HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""Of HEIC files, after ``ftyp``."""

FORMATS = (*_SIGNATURES, "HEIF")
"""Accepted formats, by Pillow's names. JPEG includes the MPO files of some cameras, whose first picture is read."""

EXTENSIONS = ("jpg", "jpeg", "jpe", "jfif", "mpo", "heic", "heif", "hif", "png", "webp", "bmp", "tif", "tiff", "gif")
"""Usual extensions of these formats, to find photographs in folders. The format itself is recognised by content."""

warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # harmless faults in metadata

# Opened by class: Image.open would enforce a limit of its own, which is global to the process.
_READERS: dict[str, type[ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
    "GIF": GifImageFile,
}
_CHECKS = {"PNG": check_png, "GIF": check_gif, "TIFF": check_tiff, "WEBP": check_webp}

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


@dataclass(frozen=True)
class Square:
    """The part of a photograph that the network sees, in pixels."""

    left: int
    top: int
    side: int

    @classmethod
    def of(cls, size: tuple[int, int], side: int | None = None) -> Square:
        """The square in the centre of a photograph of this width and height: the largest, unless ``side`` is given."""
        side = min(size) if side is None else side
        return cls((size[0] - side) // 2, (size[1] - side) // 2, side)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom, as Pillow wants them."""
        return self.left, self.top, self.left + self.side, self.top + self.side


def open_photograph(data: bytes, heic_pixels: int = MAX_WHOLE_PIXELS) -> Image.Image:
    """Decode the first frame of ``data`` into an upright 8-bit sRGB photograph.

    Transparent parts get the colour of what is next to them. :mod:`api.colour` says which colour spaces are understood.
    A large photograph is shrunk by an integer factor to a shorter side of at least :data:`MIN_SHORT_SIDE`. This saves
    time and memory, and makes no difference to the network. :mod:`api.limits` bounds what any file costs.

    Args:
        data: the content of the file.
        heic_pixels: the limit on width times height of a HEIC file.

    Raises:
        ImageError: not an image, of another format, over a limit, truncated or corrupt.
    """
    if not data:
        raise ImageError("the file is empty (0 bytes): copy or download it again", ErrorCode.EMPTY_IMAGE)
    kind = _format(data)
    try:
        if kind == "JPEG":
            data = strip_metadata(data)
        elif kind in _CHECKS:
            _CHECKS[kind](data)
        if kind == "HEIF":
            image = _open_heif(data, heic_pixels)
        else:
            image = _open(kind, data)
            _check_cost(image, data)
        floor = _shortest(image.size)
        image.draft(None, (floor, floor))  # a JPEG is shrunk while it is decoded, by 2, 4 or 8
        image.load()
        orientation = _orientation(image)
        photograph = _to_rgb(image, data)
        return photograph.transpose(_TURNS[orientation]) if orientation in _TURNS else photograph
    except ImageError:
        raise
    except Image.DecompressionBombError:  # from Pillow's own check of frames and tiles, whose limit is above ours
        raise ImageError(
            f"the image has more than {MAX_WHOLE_PIXELS / 1e6:g} million pixels: make it smaller",
            ErrorCode.IMAGE_TOO_LARGE,
        ) from None
    except MemoryError:
        raise ImageError("the image is too large to decode: make it smaller", ErrorCode.IMAGE_TOO_LARGE) from None
    except Exception:  # Pillow raises many types for corrupt files: OSError, SyntaxError, struct.error…
        raise ImageError(DAMAGED) from None


def _format(data: bytes) -> str:
    """The format, by the first bytes.

    Raises:
        ImageError: it is none of :data:`FORMATS`.
    """
    if data[4:8] == b"ftyp":
        brands = data[8 : min(int.from_bytes(data[:4]), 256)]
        if b"avif" in brands or b"avis" in brands:
            raise ImageError(f"an AVIF file is not read: send a {KINDS} file", ErrorCode.NOT_AN_IMAGE)
        if brands.startswith(HEIF_BRANDS):
            return "HEIF"
    if data.startswith(RAW_SIGNATURES) or data[4:12] == b"ftypcrx ":
        raise ImageError(RAW)
    for kind, signatures in _SIGNATURES.items():
        if data.startswith(signatures):
            return kind
    raise ImageError(NOT_AN_IMAGE)


def _open(kind: str, data: bytes) -> Image.Image:
    """The picture with its header read, and nothing decoded."""
    try:
        return _READERS[kind](io.BytesIO(data))
    except SyntaxError:  # what Pillow raises for the header of another format
        raise ImageError(NOT_AN_IMAGE) from None


def _open_heif(data: bytes, most_pixels: int) -> Image.Image:
    """The picture, upright and decoded, by libheif."""
    heif = open_heif(data, convert_hdr_to_8bit=True)
    width, height = heif.size
    check_size(width, height, most_pixels)
    image = heif.to_pillow()
    for key in ("exif", "xmp"):  # libheif has turned the picture
        image.info.pop(key, None)
    return image


def _check_cost(image: Image.Image, data: bytes) -> None:
    """Refuse what would take too long or too much memory, before decoding.

    Raises:
        ImageError: no pixels, too many pixels, or a compression that Pillow decodes in Python.
    """
    if any(tile[0] == "bmp_rle" for tile in getattr(image, "tile", ())):
        raise ImageError("the image is a compressed BMP: save it without compression, or as JPEG or PNG")
    tags = getattr(image, "tag_v2", {})
    if image.format == "JPEG":
        most = MAX_PIXELS
    elif image.format == "WEBP":
        most = MAX_WEBP_PIXELS
    else:
        most = min(MAX_WHOLE_PIXELS, MAX_WHOLE_BYTES // (len(image.getbands()) * max(1, _bits(image, data) // 8)))
    check_size(*image.size, most)
    # The tiles of a TIFF may exceed the picture.
    if int(tags.get(ExifTags.Base.TileWidth, 1)) * int(tags.get(ExifTags.Base.TileLength, 1)) > most:
        raise ImageError(f"the image has tiles of more than {most / 1e6:g} million pixels: save it as JPEG or PNG")


def _bits(image: Image.Image, data: bytes) -> int:
    """Bits of each channel, as the file has them."""
    if image.format == "PNG":
        return data[24]
    return int(max(getattr(image, "tag_v2", {}).get(ExifTags.Base.BitsPerSample, (8,))))


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation; 1 (upright) if it is missing or unreadable. Pillow itself turns TIFF files."""
    try:
        if len(image.info.get("exif", b"")) > MAX_EXIF:
            image.info["exif"] = image.info["exif"][:MAX_EXIF]
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata is no reason to refuse a photograph
        return 1


def _to_rgb(image: Image.Image, data: bytes) -> Image.Image:
    declared = declared_profile(image, data)
    profile = None if declared else image.info.get("icc_profile")
    deep = _bits(image, data) > 8
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image, profile = from_deep_grey(_shrink(image if image.mode in ("I", "F") else image.convert("I"))), None
    elif image.mode in ("PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    elif image.mode == "La":
        image = image.convert("LA")
    elif image.mode not in ("RGB", "RGBA", "L", "LA", "CMYK"):
        image = image.convert("RGB")
    image = _shrink(image)
    if image.mode in ("RGBA", "LA"):
        image = on_background(image.convert("RGBA"))
    if deep and image.mode == "RGB" and np.asarray(image).max() < 64:  # 14 bits or fewer, of which Pillow drops 8
        raise ImageError(
            "the image's colours have 16 bits, of which the upper ones are empty, so that it would appear black: "
            "scale them to the full range, or save it with 8 bits"
        )
    image = to_srgb(image, profile)
    image = image if image.mode == "RGB" else image.convert("RGB")
    return to_srgb(image, declared)


def _shortest(size: tuple[int, int]) -> int:
    """The shorter side in pixels below which a picture of this size is not shrunk."""
    return MIN_SHORT_SIDE if max(size) <= 4 * min(size) else MIN_SHORT_SIDE // 2


def _shrink(image: Image.Image) -> Image.Image:
    """Shrink a large image of any format, as ``draft`` does a JPEG."""
    factor = min(image.size) // _shortest(image.size)
    return image.reduce(factor) if factor > 1 else image


def to_send(content: bytes) -> bytes:
    """A file as the service takes it: unchanged unless it is too large for a request, or HEIC with too many pixels.

    Otherwise the photograph as :func:`open_photograph` returns it, as a JPEG file.

    Raises:
        ImageError: it is too large, and cannot be read.
    """
    if len(content) <= MAX_SENT_BYTES and not _is_large_heic(content):
        return content
    file = io.BytesIO()
    open_photograph(content, heic_pixels=MAX_PIXELS).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def _is_large_heic(content: bytes) -> bool:
    try:
        if _format(content) != "HEIF":
            return False
        width, height = open_heif(content).size
    except Exception:  # whatever libheif raises for a damaged file, which the service refuses
        return False
    return MAX_WHOLE_PIXELS < width * height <= MAX_PIXELS
