"""The outlines of regions, and which are named."""

from __future__ import annotations

import numpy as np
import pytest

from api.photograph import Square
from api.pictures import read_map
from frontend.regions import outline, rank, shapes, strongest, supporting
from tests.unit.frontend.answers import figures


def area(points: np.ndarray) -> float:
    """Signed, by the shoelace formula."""
    following = np.roll(points, -1, axis=0)
    return float((points[:, 0] * following[:, 1] - points[:, 1] * following[:, 0]).sum() / 2)


def test_a_hole_has_a_line_of_its_own_that_turns_the_other_way():
    mask = np.ones((20, 20), bool)
    mask[5:15, 5:15] = False
    outer, inner = sorted(outline(mask), key=lambda loop: -abs(area(loop)))
    assert area(outer) > 0 > area(inner)
    assert area(outer) + area(inner) == pytest.approx(300, abs=2)


def test_areas_that_touch_at_a_corner_are_whole():
    mask = np.zeros((8, 8), bool)
    mask[:4, :4] = mask[4:, 4:] = True
    assert sum(map(area, outline(mask))) == pytest.approx(32, abs=2)


def test_regions_lie_on_the_centre_square_of_the_photograph():
    drawn = shapes(read_map(figures().regions.map), Square.of((600, 448)))
    assert list(drawn) == [0, 1, 2, 3]
    assert drawn[0].centre == pytest.approx((76 + 112, 112), abs=6)
    assert drawn[3].centre == pytest.approx((76 + 336, 336), abs=6)
    assert drawn[0].path.startswith("M") and drawn[0].path.endswith("Z")


def test_the_centre_of_a_ring_lies_in_the_ring():
    numbers = np.zeros((224, 224), np.uint8)
    numbers[60:160, 60:160] = 1
    x, y = shapes(numbers, Square(0, 0, 224))[0].centre
    assert numbers[int(y), int(x)] == 0


def test_regions_are_numbered_by_strength():
    weights = [0.2, -0.42, 0.8, 0.01]
    assert rank(weights) == [3, 2, 1, 4]
    assert strongest(weights) == [2, 1, 0]
    assert supporting(weights) == [2, 0]
    assert strongest([0.0, 0.0]) == strongest([]) == []
