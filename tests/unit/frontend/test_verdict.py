"""The verdict: its order, its words and its colours."""

from __future__ import annotations

import re
import tomllib

import msgspec
import pytest

from api.answer import Malignant, Prediction
from frontend import verdict
from frontend.i18n import use_language
from frontend.viewer import CSS, SUPPORTING
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


def themes() -> dict[str, dict[str, str]]:
    theme = tomllib.loads((ROOT / ".streamlit/config.toml").read_text())["theme"]
    return {name: theme[name] for name in ("light", "dark")}


def test_contrast_is_computed_as_wcag_does():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", themes())
def test_bars_and_text_stand_out_in_both_themes(theme: str):
    colours = themes()[theme]
    for background in (colours["backgroundColor"], colours["secondaryBackgroundColor"]):
        assert contrast(colours["textColor"], background) >= 4.5
        for bar in (verdict.BAR, verdict.ALARM, verdict.TRACK, SUPPORTING):
            assert contrast(bar, background) >= 3, (bar, background)


def test_text_has_the_themes_colour():
    """So the test above is of all text: no style gives it another, except the numbers on pictures, white on black."""
    for style in (verdict.STYLE, CSS):
        assert set(re.findall(r"(?<![-\w])color: ([^;]+);", style)) <= {"inherit"}


@pytest.mark.parametrize(
    ("probability", "words"),
    [
        (0.001, "Far below"),
        (0.05, "Below"),
        (0.0701, "Just above"),
        (0.1, "Just above"),
        (0.3, "Above"),
        (0.98, "Far above"),
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
    assert html.index("Far above the malignant threshold") < html.index("Melanocytic nevi")
    assert re.findall(r"<h4.*?>(.*?)</h4>", html) == ["Far above the malignant threshold", "Melanocytic nevi"]
    assert "width:98.00%" in html and "left:7.00%" in html
    assert "94.7% of the malignant ones and 32.0% of the others" in html


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "<p>Melanoma, basal cell carcinoma and actinic keratoses together: 98.0%.</p>"),
        ("fr", "<p>Mélanome, carcinome basocellulaire et kératoses actiniques ensemble\u00a0: 98,0\u00a0%.</p>"),
    ],
)
def test_the_malignant_diagnoses_are_named(language: str, words: str):
    with use_language(language):
        assert words in verdict.html(answer(0.98))


def test_an_older_service_reports_no_rates():
    details = answer().details
    assert details
    malignant = msgspec.json.decode(b'{"probability":0.1,"threshold":0.07,"flagged":true}', type=Malignant)
    older = msgspec.structs.replace(answer(), details=msgspec.structs.replace(details, malignant=malignant))
    html = verdict.html(older)
    assert "Just above" in html and "Of the test photographs" not in html


def test_a_picture_unlike_the_training_photographs_has_no_reliable_diagnosis():
    html = verdict.html(answer(0.98, unlike=True))
    before, folded = html.split("<details>")
    assert "<h4>No reliable diagnosis</h4>" in before
    assert "Melanocytic nevi" not in before and "malignant threshold" not in before and "width:" not in before
    assert "Melanocytic nevi" in folded and "Far above the malignant threshold" in folded


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "Cannot be excluded: melanocytic nevi, melanoma"),
        ("fr", "Ne peuvent être exclus\u00a0: nævus mélanocytaires, mélanome"),
    ],
)
def test_what_cannot_be_excluded_follows_the_diagnosis(language: str, words: str):
    plausible = ["Melanocytic nevi", "Melanoma"]
    with use_language(language):
        html = verdict.html(answer(plausible=plausible))
        unlike = verdict.html(answer(plausible=plausible, unlike=True))
    assert f'<p class="mlbio-plausible">{words}</p><dl' in html
    assert words in unlike.split("<details>")[1]


@pytest.mark.parametrize("plausible", [None, ["Melanocytic nevi"]])
def test_a_set_of_one_or_none_is_not_mentioned(plausible: list[str] | None):
    assert "excluded" not in verdict.html(answer(plausible=plausible))


def test_without_details_there_is_the_diagnosis():
    with use_language("fr"):
        html = verdict.html(Prediction(prediction="Melanoma", probability=0.6))
    assert ">Mélanome</h4>" in html and "60,0\u00a0%" in html and "<dl" not in html


def test_what_the_service_says_is_escaped():
    html = verdict.html(Prediction(prediction="<script>alert(1)</script>", probability=0.6))
    assert "<script" not in html
