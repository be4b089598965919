"""Pictures from answers."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from api.pictures import explanation_png


def test_the_png_has_the_answers_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    picture = Image.open(io.BytesIO(explanation_png(pixels.tolist())))
    assert (picture.format, picture.mode) == ("PNG", "RGB")
    np.testing.assert_array_equal(np.asarray(picture), pixels)


@pytest.mark.parametrize("rows", [[], [[]], [[[0, 0, 0]], []], [[[0, 0]]], [[0, 0, 0]]])
def test_what_is_no_picture_is_refused(rows: list):
    with pytest.raises(ValueError):
        explanation_png(rows)
