"""The shifts do to a photograph what they say, the same each time."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from evaluate.shifts import SHIFTS, UNCHANGED, blur, cropped, gamma, half_resolution, squeezed, white_balance
from handler.model.images import network_square
from tests.pictures import noise


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    return noise(384, 288, 24)


@pytest.mark.parametrize("name", SHIFTS)
def test_a_shift_is_repeatable_and_changes_the_square(photograph: Image.Image, name: str):
    before = np.asarray(photograph).copy()
    first, again = (network_square(SHIFTS[name](photograph)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(np.asarray(photograph), before)
    plain = network_square(photograph)
    assert first.shape == plain.shape and first.dtype == np.uint8
    difference = np.abs(first.astype(int) - plain).mean()
    assert difference == 0 if name == UNCHANGED else difference > 0.1, difference


@pytest.mark.parametrize("name", SHIFTS)
@pytest.mark.parametrize("size", [(1, 1), (3000, 2), (7, 900)])
def test_a_shift_takes_a_photograph_of_any_shape(name: str, size: tuple[int, int]):
    assert network_square(SHIFTS[name](Image.new("RGB", size, (90, 60, 50)))).shape == (224, 224, 3)


def test_white_balance_and_gamma_change_the_levels_as_they_say():
    grey = Image.new("RGB", (4, 4), (100, 100, 100))
    assert white_balance(1.1, 0.9)(grey).getpixel((0, 0)) == (110, 100, 90)
    assert white_balance(3, 1)(grey).getpixel((0, 0)) == (255, 100, 100)
    assert gamma(2)(grey).getpixel((0, 0)) == (39, 39, 39)  # 255 * (100 / 255) ** 2


def test_blur_is_in_proportion_to_the_photograph(photograph: Image.Image):
    large = photograph.resize((768, 576), Image.Resampling.BICUBIC)
    squares = [network_square(blur(p)).astype(int) for p in (photograph, large)]
    assert np.abs(squares[0] - squares[1]).mean() < 2


def test_other_ways_of_resizing_show_what_they_should(photograph: Image.Image):
    assert half_resolution(photograph).size == (149, 112)
    assert squeezed(photograph).size == cropped(photograph).size == (224, 224)
    bar = Image.new("RGB", (384, 288))
    bar.paste((255, 255, 255), (0, 0, 40, 288))  # outside the centre square
    assert not network_square(bar).any() and network_square(squeezed(bar)).any()
