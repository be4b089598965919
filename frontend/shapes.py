"""The regions of an explanation as SVG paths on the photograph, at any size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
    """The regions of a map (H, W) by number, where the square that the map covers lies on the photograph."""
    scale = square.side / numbers.shape[0]
    made = {}
    for number in np.unique(numbers).tolist():
        mask = numbers == number
        loops = ["M" + "L".join(_point(p, square, scale) for p in loop) + "Z" for loop in outline(mask)]
        x, y = _centre(mask)
        made[number] = Shape("".join(loops), (square.left + x * scale, square.top + y * scale))
    return made


def outline(mask: np.ndarray) -> list[list[tuple[float, float]]]:
    """The borders of a region, boolean (H, W), as closed lines of (x, y); holes have lines of their own.

    The line joins the middles of the pixels' edges, so slopes are smooth rather than stairs, and two neighbours have
    the same line between them.
    """
    padded = np.pad(mask, 1).astype(np.int8)
    # Each edge between a pixel inside and one outside goes from corner to corner, the inside on its right.
    following: dict[tuple[int, int], list[tuple[int, int]]] = {}

    inner = padded[1:-1, 1:-1]
    sides = (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),
        (padded[1:-1, 2:], (1, 0), (1, 1)),
        (padded[2:, 1:-1], (1, 1), (0, 1)),
        (padded[1:-1, :-2], (0, 1), (0, 0)),
    )
    for neighbour, start, end in sides:
        for y, x in np.argwhere(inner > neighbour).tolist():
            following.setdefault((x + start[0], y + start[1]), []).append((x + end[0], y + end[1]))
    loops = []
    while following:
        first = at = next(iter(following))
        loop = []
        while True:
            after = following[at].pop()
            if not following[at]:
                del following[at]
            loop.append(((at[0] + after[0]) / 2, (at[1] + after[1]) / 2))
            at = after
            if at == first:
                break
        loops.append(_without_straight(loop))
    return loops


def _without_straight(loop: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The line without the points between two that a straight line joins anyway."""
    count = len(loop)
    kept = []
    for i, (x, y) in enumerate(loop):
        (x0, y0), (x1, y1) = loop[i - 1], loop[(i + 1) % count]
        if (x - x0) * (y1 - y) != (y - y0) * (x1 - x):
            kept.append((x, y))
    return kept or loop


def _point(point: tuple[float, float], square: Square, scale: float) -> str:
    x, y = square.left + point[0] * scale, square.top + point[1] * scale
    return f"{x:.1f} {y:.1f}".replace(".0 ", " ").removesuffix(".0")


def _centre(mask: np.ndarray) -> tuple[float, float]:
    """A point of the region far from its border: the last one left when the border is peeled off again and again."""
    left = np.pad(mask, 1)
    while True:
        peeled = left.copy()
        peeled[1:-1, 1:-1] &= left[:-2, 1:-1] & left[2:, 1:-1] & left[1:-1, :-2] & left[1:-1, 2:]
        peeled[[0, -1]] = peeled[:, [0, -1]] = False
        if not peeled.any():
            break
        left = peeled
    y, x = (axis[len(axis) // 2] for axis in np.nonzero(left))
    return float(x) - 0.5, float(y) - 0.5
