"""The regions of an explanation: their outlines on the photograph, and which of them are worth naming."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from skimage import measure

from api.answer import Regions
from api.photograph import Square

STRONGEST = 5
"""Regions that are numbered on the picture and listed; as many as the service outlines."""

MIN_RELATIVE_WEIGHT = 0.1
"""A region is one of the strongest only with at least this share of the greatest weight; as in the service."""


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
        loops = [np.array([square.left, square.top]) + loop * scale for loop in outline(mask)]
        path = "".join("M" + "L".join(f"{round(x, 1):g} {round(y, 1):g}" for x, y in loop) + "Z" for loop in loops)
        x, y = _centre(mask)
        made[number] = Shape(path, (square.left + x * scale, square.top + y * scale))
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


def _centre(mask: np.ndarray) -> tuple[float, float]:
    """The middle of the pixel that is farthest from the region's border."""
    distance = scipy.ndimage.distance_transform_edt(np.pad(mask, 1))
    y, x = np.unravel_index(distance.argmax(), distance.shape)
    return float(x) - 0.5, float(y) - 0.5


def rank(weights: list[float]) -> list[int]:
    """The number shown for each region: 1 for the greatest weight, whatever its sign."""
    order = _by_strength(weights)
    return [order.index(n) + 1 for n in range(len(weights))]


def strongest(weights: list[float]) -> list[int]:
    """The regions worth naming, the strongest first."""
    most = max(map(abs, weights), default=0.0)
    return [
        n for n in _by_strength(weights)[:STRONGEST] if abs(weights[n]) >= MIN_RELATIVE_WEIGHT * most and weights[n]
    ]


def supporting(weights: list[float]) -> list[int]:
    """The strongest of the regions that support the diagnosis."""
    return strongest([max(0.0, w) for w in weights])


def named_in_tables(regions: Regions) -> set[int]:
    """The regions in the tables, which the picture therefore numbers."""
    return {*strongest(regions.weights), *(n for pair in regions.pairs for n in pair.regions)}


def _by_strength(weights: list[float]) -> list[int]:
    return sorted(range(len(weights)), key=lambda n: -abs(weights[n]))
