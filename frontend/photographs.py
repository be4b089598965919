"""Photographs as the user adds them, as the service accepts them, and as thumbnails."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from api.photograph import ImageError, open_photograph, to_send

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
    """An uploaded file, made smaller if it is too large to send; one that cannot be read is left for the service."""
    digest = hashlib.sha256(name.encode("utf-8", "replace") + b"\0" + content).hexdigest()[:16]
    with contextlib.suppress(ImageError):
        content = to_send(content)
    return Photograph(digest, name, content)


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
