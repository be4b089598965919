"""The verdict: its order, its words and its colours."""

from __future__ import annotations

import re
import tomllib

import msgspec
import pytest

from api.answer import Malignant, Prediction
from frontend import verdict
from frontend.style import VIEW_STYLE
from tests.conftest import ROOT
from tests.unit.frontend.answers import answer


def luminance(colour: str) -> float:
    """WCAG's relative luminance of ``#rrggbb``."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


THEMES = tomllib.loads((ROOT / ".streamlit/config.toml").read_text())["theme"]
COLOURS = dict(re.findall(r"--mlbio-(\w+): (#[0-9a-f]{6});", VIEW_STYLE))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_bars_and_text_stand_out_in_both_themes(theme: str):
    """Yellow does not on white; such regions are dashed, and named in words."""
    for background in (THEMES[theme]["backgroundColor"], THEMES[theme]["secondaryBackgroundColor"]):
        assert contrast(THEMES[theme]["textColor"], background) >= 4.5
        for name in ("bar", "alarm", "track", "supporting"):
            assert contrast(COLOURS[name], background) >= 3, (name, background)


def test_text_has_the_themes_colour():
    """So the test above is of all text: no style gives it another, except the numbers on pictures, white on black."""
    assert set(re.findall(r"(?<![-\w])color: ([^;]+);", VIEW_STYLE)) <= {"inherit"}


@pytest.mark.parametrize(
    ("probability", "words"),
    [
        (0.001, "Far below"),
        (0.05, "Below"),
        (0.0701, "Just above"),
        (0.3, "Above"),
        (1.0, "Far above"),
    ],
)
def test_the_malignant_probability_is_graded(probability: float, words: str):
    malignant = Malignant(probability, 0.07, probability >= 0.07)
    assert verdict.grade(malignant) == f"{words} the malignant threshold"


def test_the_flag_decides_on_which_side_the_words_are():
    """The probability in the answer is rounded, and so can equal the threshold on either side."""
    assert verdict.grade(Malignant(0.07, 0.07, False)).startswith("Below")
    assert verdict.grade(Malignant(0.07, 0.07, True)).startswith("Just above")


def test_malignant_or_not_comes_before_the_diagnosis():
    html = verdict.html(answer(0.98))
    assert re.findall(r"<h4.*?>(.*?)</h4>", html) == ["Far above the malignant threshold", "Melanocytic nevi"]
    assert "Melanoma, basal cell carcinoma and actinic keratoses together: 98.0%." in html
    assert '<div class="mlbio-alarm" style="width:98.00%">' in html and "left:7.00%" in html
    assert "mlbio-alarm" not in verdict.html(answer(0.05, flagged=False))
    assert "94.7% of the malignant ones and 32.0% of the others" in html


def test_an_older_service_reports_no_rates():
    details = msgspec.structs.replace(answer().details, malignant=Malignant(0.1, 0.07, True))
    html = verdict.html(msgspec.structs.replace(answer(), details=details))
    assert "Just above" in html and "Of the test photographs" not in html


def test_a_picture_unlike_the_training_photographs_has_no_reliable_diagnosis():
    html = verdict.html(answer(0.98, unlike=True))
    before, folded = html.split("<details>")
    assert "<h4>No reliable diagnosis</h4>" in before
    assert "Melanocytic nevi" not in before and "malignant threshold" not in before and "width:" not in before
    assert "Melanocytic nevi" in folded and "Far above the malignant threshold" in folded


def test_what_cannot_be_excluded_follows_the_diagnosis():
    expected = '<p class="mlbio-plausible">Cannot be excluded: melanocytic nevi, melanoma</p><dl'
    plausible = ["Melanocytic nevi", "Melanoma"]
    assert expected in verdict.html(answer(plausible=plausible))
    assert expected in verdict.html(answer(plausible=plausible, unlike=True)).split("<details>")[1]


@pytest.mark.parametrize("plausible", [None, ["Melanocytic nevi"]])
def test_a_set_of_one_or_none_is_not_mentioned(plausible: list[str] | None):
    assert "excluded" not in verdict.html(answer(plausible=plausible))


def test_without_details_there_is_the_diagnosis():
    html = verdict.html(Prediction(prediction="Melanoma", probability=0.6))
    assert ">Melanoma</h4>" in html and "60.0%" in html and "<dl" not in html


def test_what_the_service_says_is_escaped():
    html = verdict.html(Prediction(prediction="<script>alert(1)</script>", probability=0.6))
    assert "<script" not in html
