"""Photographs as the page shows them."""

from __future__ import annotations

from api.photograph import ImageError, open_photograph
from api.pictures import encode_png

SIDE = 512
"""Longer side of a thumbnail in pixels."""


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
