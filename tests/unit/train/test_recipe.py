"""The recipe."""

from __future__ import annotations

import pytest

from handler.model.images import SIZE
from train.recipe import SEVERAL_SOURCES, Recipe


@pytest.mark.parametrize("epochs", [1, 2, 3, 15, 30])
def test_views_grow_to_the_size_that_serving_uses(epochs):
    sizes = [Recipe().image_size(epoch, epochs) for epoch in range(epochs)]
    assert sizes == sorted(sizes) and sizes[-1] == SIZE


def test_barcelonas_small_photographs_take_part_in_the_first_epochs_only():
    sides = [SEVERAL_SOURCES.least_side * SEVERAL_SOURCES.image_size(epoch, 15) for epoch in range(15)]
    assert sides[0] <= 84 < sides[-1] <= 224
