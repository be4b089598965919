"""Files that a person drops, as photographs that the service takes."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import pillow_heif
from PIL import Image, ImageOps

from api.limits import MAX_PIXELS

_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1")

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@dataclass(frozen=True)
class Photograph:
    """A file as it is sent.

    Attributes:
        id: the same for the same file, in letters and digits.
        name: of the file that the person chose.
        content: bytes of a file in a format that the service takes.
    """

    id: str
    name: str
    content: bytes


def photograph(name: str, content: bytes) -> Photograph:
    """A file that was dropped. HEIC becomes JPEG; one that cannot be read is left to the service to refuse."""
    digest = hashlib.sha256(name.encode("utf-8", "replace") + b"\0" + content).hexdigest()[:16]
    return Photograph(digest, name, _jpeg(content) if is_heic(content) else content)


def is_heic(content: bytes) -> bool:
    """Whether a file is HEIC, by its first bytes."""
    return content[4:8] == b"ftyp" and content[8:12] in _BRANDS


def examples() -> list[Photograph]:
    """The drawn pictures that ship; none where the page was installed without them."""
    return [photograph(file.name, file.read_bytes()) for file in sorted(EXAMPLES.glob("drawn_*.jpg"))]


def _jpeg(content: bytes) -> bytes:
    """A HEIC file as an upright JPEG of the same size; the file itself where it cannot be read or is too large."""
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
