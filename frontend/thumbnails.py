"""Photographs as the table shows them."""

from __future__ import annotations

import base64
import io

from api.photograph import ImageError, open_photograph

SIDE = 64
"""Longer side of a thumbnail in pixels. The table holds hundreds, and is sent anew whenever an answer comes."""


def icon(image: bytes) -> str | None:
    """A photograph made small, as the ``data:`` address of a JPEG file of about 1 kB; None if it cannot be decoded."""
    try:
        photograph = open_photograph(image)
    except ImageError:
        return None  # the service's answer says what is wrong with it
    photograph.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    photograph.save(file, "JPEG", quality=70)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
