"""Pictures from answers."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api.answer import Regions
from api.pictures import FOR, encode_png, explanation_png, is_explanation, overlay_png, source_of, with_source


def test_the_png_has_the_answers_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    picture = Image.open(io.BytesIO(explanation_png(pixels.tolist())))
    assert (picture.format, picture.mode) == ("PNG", "RGB")
    np.testing.assert_array_equal(np.asarray(picture), pixels)


@pytest.mark.parametrize("rows", [[], [[]], [[[0, 0, 0]], []], [[[0, 0]]], [[0, 0, 0]]])
def test_what_is_no_picture_is_refused(rows: list):
    with pytest.raises(ValueError):
        explanation_png(rows)


def regions(weights: list[float], errors: float = 0.01) -> Regions:
    """Left half region 0, right half region 1."""
    numbers = np.zeros((224, 224), np.uint8)
    numbers[:, 112:] = 1
    file = io.BytesIO()
    Image.fromarray(numbers).save(file, "PNG")
    return Regions(base64.b64encode(file.getvalue()).decode(), weights, [errors] * len(weights), [])


def drawn(kind: str, size: tuple[int, int], weights: list[float], errors: float = 0.01) -> np.ndarray:
    png = overlay_png(Image.new("RGB", size, (200, 200, 200)), regions(weights, errors), kind)
    return np.asarray(Image.open(io.BytesIO(png)), int)


@pytest.mark.parametrize("size", [(600, 400), (400, 600), (50, 50)])
def test_the_regions_lie_on_the_centre_square(size: tuple[int, int]):
    pixels = drawn("heatmap", size, [2.0, -2.0])
    width, height = size
    middle, side = height // 2, min(size)
    left, right = pixels[middle, (width - side) // 2 + side // 4], pixels[middle, (width + side) // 2 - side // 4]
    assert pixels.shape == (height, width, 3)
    assert left[2] - left[0] > 80 and right[0] - right[2] > 80, "blue for, orange against"
    if width != height:
        assert (pixels[0, 0] == 100).all(), "what the network did not see is dark"


def test_outlines_are_thin_opaque_and_only_where_the_weight_is_certain():
    pixels = drawn("outline", (500, 500), [2.0, -0.01])
    blue = (pixels == FOR).all(axis=2)
    assert 0 < blue.sum() < 0.02 * blue.size and blue[:, :250].sum() == blue.sum()
    assert (drawn("outline", (500, 500), [2.0, -2.0], errors=5.0) == 200).all()


def test_regions_that_do_not_fit_are_refused():
    picture = Image.new("RGB", (9, 9))
    for wrong in (regions([1.0]), Regions("AAAA", [1.0], [1.0], [])):
        with pytest.raises(ValueError):
            overlay_png(picture, wrong, "heatmap")
    with pytest.raises(ValueError):
        overlay_png(picture, regions([1.0, 2.0]), "other")


def test_a_picture_names_its_photograph(tmp_path: Path):
    ours, other = tmp_path / "a_explained.png", tmp_path / "b_explained.png"
    png = encode_png(Image.new("RGB", (3, 3)))
    ours.write_bytes(with_source(png, "é.jpg"))
    other.write_bytes(png)
    assert source_of(ours) == "é.jpg" and is_explanation(ours)
    assert source_of(other) is None and not is_explanation(other)
    assert source_of(tmp_path / "missing") is None
