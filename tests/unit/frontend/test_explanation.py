"""The explanation's view. That it moves is tested in a browser."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from PIL import Image

from api.answer import Regions
from frontend import explanation
from tests.unit.frontend.answers import figures

PHOTOGRAPH = Image.new("RGB", (600, 450), (200, 150, 130))


def view(prediction: str = "Melanoma", **changes: Any) -> str:
    return explanation.view(PHOTOGRAPH, prediction, figures(**changes), id="a")


def test_regions_are_drawn_and_named_by_their_weights():
    html = view()
    assert re.findall(r'viewBox="([^"]+)"', html) == ["0 0 600 450"] * 2, "both pictures have the same frame"
    assert html.count('data-region="2"') == 2, "the same region in both"
    assert 'aria-label="Region 1: +0.80 ± 0.07, supports melanoma"' in html
    assert 'aria-label="Region 2: −0.42 ± 0.06, contradicts melanoma"' in html
    assert '<g class="mlbio-x-minus mlbio-x-strong" style="--w:0.525">' in html
    assert '<g class="mlbio-x-plus mlbio-x-strong" style="--w:1.000">' in html
    assert '<g class="mlbio-x-plus" style="--w:0.012">' in html


def test_hiding_the_rest_leaves_the_supporting_regions():
    html = view()
    paths = dict(re.findall(r'data-region="(\d)" d="([^"]+)"', html))
    (veil,) = re.findall(r'mlbio-x-veil" fill-rule="evenodd" d="([^"]+)"', html)
    assert [paths[n] in veil for n in "0123"] == [True, False, True, False]


def test_pairs_are_described_in_words():
    assert re.findall(r'<th scope="row">(\d \+ \d)</th>.*?<td>(.*?)</td>', view()) == [
        ("1 + 3", "the two matter only together"),
        ("1 + 2", "either can replace the other"),
    ]


def test_weights_of_zero_can_be_shown():
    assert "up to +0.00" in view(regions=Regions(figures().regions.map, [0.0] * 4, [0.1] * 4, []))


@pytest.mark.parametrize(
    ("map", "words"),
    [
        (figures().regions.map, "without a weight"),
        ("no base64!", "map is not a PNG"),
        (base64.b64encode(b"no picture").decode(), "map is not a PNG"),
    ],
)
def test_regions_that_cannot_be_read_are_refused(map: str, words: str):
    with pytest.raises(ValueError, match=words):
        view(regions=Regions(map, [0.1] * 3, [0.1] * 3, []))


def test_what_the_service_sends_is_escaped():
    assert "<script" not in view("<script>")


def test_a_photograph_of_one_colour_has_nothing_to_explain():
    regions = Regions(figures().regions.map, [0.0] * 4, [0.0] * 4, [])
    nothing = figures(regions=regions, r2=None, r2_with_pairs=None, stability=None, reached=None)
    assert "No region" in explanation.reliability(nothing) and "all weights are 0" in explanation.caveats(nothing)[0]
    html = explanation.view(PHOTOGRAPH, "Melanoma", nothing, id="a")
    assert "Strongest regions" not in html and "Strongest pairs" not in html


def test_regions_that_all_contradict_the_diagnosis():
    (sentence,) = explanation.caveats(figures(regions=Regions(figures().regions.map, [-0.1] * 4, None, [])))
    assert "No region supports" in sentence


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "Stable and faithful explanation"),
        ({"r2_with_pairs": 0.5, "stability": 0.6}, "Weak explanation"),
        ({"stability": 0.75}, "Unstable explanation"),
        ({"r2_with_pairs": 0.7}, "Fair explanation"),
        ({"stability": 0.85}, "Faithful explanation, but only fairly stable"),
    ],
)
def test_its_reliability_is_summed_up(changes: dict[str, Any], words: str):
    assert explanation.reliability(figures(**changes)).startswith(words)


def test_what_limits_it_is_said():
    missed = figures(stability=0.82, reached=False, stopped="deadline", r2=0.3)
    target, deadline, pairs = explanation.caveats(missed)
    assert target == "Target not reached: stability 0.82 of 0.95."
    assert "time limit" in deadline and "pairs" in pairs
    assert explanation.caveats(figures()) == []


def test_every_figure_is_listed():
    listed = dict(explanation.rows(figures(completeness=None)))
    assert listed["Perturbed photographs"] == "512" and listed["R² with pairs of regions"] == "0.87"
    assert listed["Completeness (1 is best)"] == "unknown"
    assert listed["Stopped by"] == "the strongest regions were stable"
