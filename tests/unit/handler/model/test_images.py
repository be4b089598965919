"""The network's square of a photograph."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from api.photograph import MIN_SHORT_SIDE, open_photograph
from handler.model.images import SIZE, network_square
from tests.pictures import distance, encoded, noise


@pytest.mark.parametrize("size", [(32, 32), (12_000, 32), (32, 12_000)])
def test_extreme_shapes_become_squares(size):
    square = network_square(open_photograph(encoded(Image.new("RGB", size, (150, 90, 60)), "PNG")))
    assert square.shape == (SIZE, SIZE, 3) and square.dtype == np.uint8
    np.testing.assert_allclose(square[SIZE // 2, SIZE // 2], (150, 90, 60), atol=4)


@pytest.mark.parametrize("size", [(600, 450), (450, 600), (100, 80), (2000, 225)])
def test_network_square_is_the_resized_centre(size):
    photograph = noise(*size, grain=60)
    shorter = min(size)
    resized = photograph.resize([round(s * SIZE / shorter) for s in size], Image.Resampling.BICUBIC)
    left, top = (resized.width - SIZE) // 2, (resized.height - SIZE) // 2
    reference = resized.crop((left, top, left + SIZE, top + SIZE))
    square = network_square(photograph)
    assert square.shape == (SIZE, SIZE, 3) and square.dtype == np.uint8
    assert distance(square, reference) < 3


@pytest.mark.parametrize("size", [(SIZE, SIZE), (SIZE + 1, SIZE), (SIZE, 400)])
def test_a_photograph_that_needs_no_resizing_is_only_cropped(size):
    photograph = noise(*size, grain=1)
    left, top = (size[0] - SIZE) // 2, (size[1] - SIZE) // 2
    assert (network_square(photograph) == np.asarray(photograph)[top : top + SIZE, left : left + SIZE]).all()


def test_network_square_averages_pixels_when_it_shrinks():
    board = np.zeros((4 * SIZE, 5 * SIZE, 3), np.uint8)
    board[::2, ::2] = board[1::2, 1::2] = 255  # a checkerboard, grey on average
    np.testing.assert_allclose(network_square(Image.fromarray(board)), 127.5, atol=3)


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 92}), ("BMP", {})])
def test_a_large_photograph_that_is_decoded_smaller_gives_the_same_square(kind, options):
    data = encoded(noise(4000, 3000, grain=40), kind, **options)
    with Image.open(io.BytesIO(data)) as image:
        whole = network_square(image.convert("RGB"))
    photograph = open_photograph(data)
    assert MIN_SHORT_SIDE <= min(photograph.size) < 2 * MIN_SHORT_SIDE
    assert distance(network_square(photograph), whole) < 3
