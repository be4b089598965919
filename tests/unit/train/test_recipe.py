"""The recipe."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict, replace

import pytest
import torch

from handler.images import SIZE
from train.recipe import SEVERAL_SOURCES, Recipe


@pytest.mark.parametrize("epochs", [1, 2, 3, 15, 30])
def test_views_grow_to_the_size_that_serving_uses(epochs):
    sizes = [Recipe().image_size(epoch, epochs) for epoch in range(epochs)]
    assert sizes == sorted(sizes) and sizes[-1] == SIZE


def test_a_recipe_cannot_be_changed_but_varied():
    with pytest.raises(FrozenInstanceError):
        Recipe().batch_size = 8
    assert replace(Recipe(), batch_size=8).batch_size == 8 != Recipe().batch_size


@pytest.mark.parametrize("recipe", [Recipe(), SEVERAL_SOURCES])
def test_a_stored_recipe_is_read_without_running_code(tmp_path, recipe):
    torch.save(asdict(recipe), tmp_path / "recipe.pth")
    stored = torch.load(tmp_path / "recipe.pth", weights_only=True)
    assert stored == asdict(recipe) and stored["augmentation"]["rotation"] == 20.0


def test_barcelonas_small_photographs_take_part_in_the_first_epochs_only():
    sides = [SEVERAL_SOURCES.least_side * SEVERAL_SOURCES.image_size(epoch, 15) for epoch in range(15)]
    assert sides[0] <= 84 < sides[-1] <= 224
