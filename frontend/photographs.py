"""Photographs as the user adds them, as the service accepts them, and as thumbnails."""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import pillow_heif
from PIL import Image, ImageOps

from api.limits import MAX_PIXELS
from api.photograph import ImageError, open_photograph

_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1")

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

THUMBNAIL_SIDE = 64
"""Longer side in pixels. The table holds hundreds of thumbnails, and is sent again with every answer."""


@dataclass(frozen=True)
class Photograph:
    """A file as it is sent.

    Attributes:
        id: derived from name and content, in letters and digits.
        name: of the file that the user chose.
        content: in a format that the service accepts.
    """

    id: str
    name: str
    content: bytes


def photograph(name: str, content: bytes) -> Photograph:
    """An uploaded file. HEIC becomes JPEG; one that cannot be read is left for the service to refuse."""
    digest = hashlib.sha256(name.encode("utf-8", "replace") + b"\0" + content).hexdigest()[:16]
    is_heic = content[4:8] == b"ftyp" and content[8:12] in _HEIC_BRANDS
    return Photograph(digest, name, _to_jpeg(content) if is_heic else content)


def examples() -> list[Photograph]:
    """The drawn pictures of the repository; none where the page was installed without them."""
    return [photograph(file.name, file.read_bytes()) for file in sorted(EXAMPLES.glob("drawn_*.jpg"))]


def thumbnail(content: bytes) -> str | None:
    """A photograph as the ``data:`` URL of a JPEG file of about 1 kB; None if it cannot be decoded."""
    try:
        picture = open_photograph(content)
    except ImageError:
        return None  # the service's answer says why
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    return data_url(picture, quality=70)


def data_url(picture: Image.Image, quality: int = 88) -> str:
    """A picture as the ``data:`` URL of a JPEG file."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _to_jpeg(content: bytes) -> bytes:
    """A HEIC file as an upright JPEG of the same size; the file itself if it cannot be read or is too large."""
    try:
        opened = pillow_heif.open_heif(content, convert_hdr_to_8bit=True)
        if opened.size[0] * opened.size[1] > MAX_PIXELS:
            return content
        picture = ImageOps.exif_transpose(opened.to_pillow())
        file = io.BytesIO()
        profile = picture.info.get("icc_profile")
        picture.convert("RGB").save(file, "JPEG", quality=95, icc_profile=profile)
    except (Image.DecompressionBombError, MemoryError, ValueError, OSError, RuntimeError, EOFError):
        return content
    return file.getvalue()
