"""The regions of an explanation as SVG paths on the photograph, at any size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from skimage import measure

from api.photograph import Square


@dataclass(frozen=True)
class Shape:
    """One region.

    Attributes:
        path: its outline, ``d`` of an SVG path, in pixels of the photograph.
        centre: a point well inside it, for a label.
    """

    path: str
    centre: tuple[float, float]


def shapes(numbers: np.ndarray, square: Square) -> dict[int, Shape]:
    """The regions of a map (H, W) by number, on the square of the photograph that the map covers."""
    scale = square.side / numbers.shape[0]
    made = {}
    for number in np.unique(numbers).tolist():
        mask = numbers == number
        loops = ["M" + "L".join(_point(p, square, scale) for p in loop) + "Z" for loop in outline(mask)]
        x, y = _centre(mask)
        made[number] = Shape("".join(loops), (square.left + x * scale, square.top + y * scale))
    return made


def outline(mask: np.ndarray) -> list[np.ndarray]:
    """The borders of a region, boolean (H, W), as closed lines of (x, y); holes have lines of their own.

    The line joins the midpoints of the pixels' edges, so slopes are smooth rather than stairs, and two neighbours share
    the line between them.
    """
    lines = measure.find_contours(np.pad(mask, 1).astype(float), 0.5)
    # From (row, column) of pixel centres in the padded mask to (x, y) with the origin in the mask's corner. Points on
    # a straight line are dropped, and the last one, which repeats the first.
    return [measure.approximate_polygon(line, 1e-6)[:-1, ::-1] - 0.5 for line in lines]


def _point(point: np.ndarray, square: Square, scale: float) -> str:
    x, y = square.left + point[0] * scale, square.top + point[1] * scale
    return f"{x:.1f} {y:.1f}".replace(".0 ", " ").removesuffix(".0")


def _centre(mask: np.ndarray) -> tuple[float, float]:
    """The middle of the pixel that is farthest from the region's border."""
    distance = scipy.ndimage.distance_transform_edt(np.pad(mask, 1))
    y, x = np.unravel_index(distance.argmax(), distance.shape)
    return float(x) - 0.5, float(y) - 0.5
