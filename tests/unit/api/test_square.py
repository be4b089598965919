"""The part of a photograph that the network sees."""

from __future__ import annotations

import pytest

from api.square import Square


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((600, 450), (75, 0, 525, 450)),
        ((450, 600), (0, 75, 450, 525)),
        ((301, 200), (50, 0, 250, 200)),
        ((200, 200), (0, 0, 200, 200)),
    ],
)
def test_it_is_in_the_centre(size: tuple[int, int], box: tuple[int, int, int, int]):
    assert Square.of(size).box == box
