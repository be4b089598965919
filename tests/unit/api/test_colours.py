"""Photographs whose colours are declared in unusual ways."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw

from api.photograph import open_photograph


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_a_transparent_background_gets_the_colour_of_the_skin_next_to_it():
    skin, lesion = (200, 150, 140), (90, 50, 40)
    image = Image.new("RGBA", (200, 160), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.ellipse((20, 20, 180, 140), fill=(*skin, 255))
    draw.ellipse((70, 50, 130, 110), fill=(*lesion, 255))
    pixels = np.asarray(open_photograph(png(image)))
    assert tuple(pixels[0, 0]) == skin
    assert tuple(pixels[80, 100]) == lesion


def test_a_transparent_picture_without_opaque_pixels_is_white():
    assert open_photograph(png(Image.new("RGBA", (32, 32)))).getextrema() == ((255, 255),) * 3
