"""Preprocessing of photographs, shared by training and serving."""

from __future__ import annotations

import numpy as np
from PIL import Image

from api.photograph import Square, open_photograph

SIZE = 224
"""Side in pixels of the network's input."""


def read_square(data: bytes, size: int = SIZE) -> np.ndarray:
    """The network's square of an image file, ``uint8`` (size, size, 3).

    Raises:
        api.photograph.ImageError: the bytes are not a photograph that can be read.
    """
    return network_square(open_photograph(data), size)


def network_square(photograph: Image.Image, size: int = SIZE) -> np.ndarray:
    """The centre square of a photograph, resized to ``uint8`` (size, size, 3).

    Cropping and resizing in one step avoids enlarging a whole photograph of 10,000 x 1 pixels.
    """
    box = Square.of(photograph.size).box
    return np.asarray(photograph.resize((size, size), Image.Resampling.BICUBIC, box=box))
