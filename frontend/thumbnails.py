"""Photographs as the page shows them."""

from __future__ import annotations

import base64
import io

from PIL import Image

from api.photograph import ImageError, open_photograph
from api.pictures import encode_png

SIDE = 512
"""Longer side of a thumbnail in pixels."""

ICON_SIDE = 64
"""Longer side of its icon in the table. The table holds hundreds, and is sent anew whenever an answer comes."""


def thumbnail_png(image: bytes) -> bytes | None:
    """A photograph as a small upright PNG file, which every browser shows; None where it cannot be decoded.

    The uploaded file itself is never shown: browsers do not display TIFF, and not all turn a photograph by its EXIF
    orientation.
    """
    try:
        photograph = open_photograph(image)
    except ImageError:
        return None  # the service's answer says what is wrong with it
    photograph.thumbnail((SIDE, SIDE))
    return encode_png(photograph)


def icon(thumbnail: bytes) -> str:
    """A thumbnail made smaller still, as the ``data:`` address of a JPEG file of about 1 kB."""
    picture = Image.open(io.BytesIO(thumbnail))
    picture.thumbnail((ICON_SIDE, ICON_SIDE))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=70)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
