"""What the network saw, and the estimate of the lesion."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from PIL import Image, ImageDraw

from frontend import crop
from frontend.i18n import use_language


def skin(size: tuple[int, int] = (600, 450), lesion: tuple[int, int, int, int] | None = None) -> Image.Image:
    """Skin with some grain, and a brown ellipse with this box."""
    noise = np.random.default_rng(0).normal(0, 5, (size[1], size[0], 3))
    photograph = Image.fromarray((np.array([225, 170, 150]) + noise).clip(0, 255).astype(np.uint8))
    if lesion:
        ImageDraw.Draw(photograph).ellipse(lesion, (110, 60, 50))
    return photograph


def test_a_lesion_in_the_middle_is_found_and_gets_no_note():
    photograph = skin(lesion=(220, 150, 380, 300))
    found = crop.lesion(photograph)
    assert found is not None
    truth = np.asarray(photograph.resize((128, 96)))[..., 1] < 115
    assert (found & truth).sum() / (found | truth).sum() > 0.85
    assert crop.note(photograph) is None


def test_a_lesion_beyond_the_square_is_noted_with_the_share_that_lies_outside():
    photograph = skin(lesion=(380, 150, 595, 300))
    text = crop.note(photograph)
    assert text is not None and "extend beyond the square" in text
    assert 20 <= int(text.split("about ")[1].split("%")[0]) <= 50
    with use_language("fr"):
        assert "\u00a0%" in (crop.note(photograph) or "")


def test_a_lesion_that_the_photograph_cuts_off_is_noted():
    assert "touch the border" in (crop.note(skin(lesion=(220, -60, 380, 200))) or "")


def test_plain_skin_has_no_lesion():
    assert crop.lesion(skin()) is None and crop.note(skin()) is None


def test_the_rim_of_a_dermatoscope_is_no_lesion():
    photograph = skin(lesion=(240, 170, 360, 280))
    rim = Image.new("L", photograph.size, 255)
    ImageDraw.Draw(rim).ellipse((-20, -95, 620, 545), 0)
    photograph.paste((8, 8, 8), mask=rim)
    assert crop.note(photograph) is None


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (2000, 10)])
def test_odd_photographs_are_shown_without_a_note(size: tuple[int, int]):
    photograph = Image.new("RGB", size, (10, 200, 30))
    assert crop.note(photograph) is None
    assert "<img" in crop.picture(photograph, "odd.png")


def test_the_picture_dims_what_was_not_seen():
    def drawn(size: tuple[int, int]) -> str:
        html = crop.picture(skin(size), '"><script>.jpg')
        assert "<script" not in html
        return base64.b64decode(html.split("base64,")[1].split('"')[0]).decode()

    assert "M0 0H600V450H0ZM75 0V450H525V0Z" in drawn((600, 450))
    assert "<path" not in drawn((300, 300))
    assert 'viewBox="0 0 900 600"' in drawn((1800, 1200)), "a large photograph is made smaller"
