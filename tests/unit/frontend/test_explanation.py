"""The explanation's view. That it moves is tested in a browser."""

from __future__ import annotations

import re

import pytest
from PIL import Image

from api.answer import Regions
from frontend import explanation
from frontend.i18n import use_language
from tests.unit.frontend.answers import figures

PHOTOGRAPH = Image.new("RGB", (600, 450), (200, 150, 130))


def test_regions_are_numbered_by_strength():
    assert explanation.rank([0.2, -0.42, 0.8, 0.01]) == [3, 2, 1, 4]
    assert explanation.strongest([0.2, -0.42, 0.8, 0.01]) == [2, 1, 0]
    assert explanation.supporting([0.2, -0.42, 0.8, 0.01]) == [2, 0]
    assert explanation.strongest([0.0, 0.0]) == explanation.strongest([]) == []


def test_a_region_is_named_in_words():
    assert explanation.name(3, 0.42, 0.05, "Melanoma") == "Region 3: +0.42 ± 0.05, supports melanoma"
    with use_language("fr"):
        assert explanation.name(1, -1.0, 0.1, "Melanoma") == (
            "Région 1\u00a0: −1,00 ± 0,10 contre «\u00a0mélanome\u00a0»"
        )


def test_the_photograph_and_the_explanation_have_the_same_frame():
    html = explanation.view(PHOTOGRAPH, "Melanoma", figures(), id="a")
    assert re.findall(r'viewBox="([^"]+)"', html) == ["0 0 600 450"] * 2
    assert html.count('data-region="2"') == 2, "the same region in both pictures"
    assert 'aria-label="Region 1: +0.80 ± 0.07, supports melanoma"' in html
    assert 'aria-label="Region 2: −0.42 ± 0.06, contradicts melanoma"' in html


def test_a_weight_decides_colour_and_strength():
    html = explanation.view(PHOTOGRAPH, "Melanoma", figures(), id="a")
    assert '<g class="mlbio-x-minus mlbio-x-strong" style="--w:0.525">' in html
    assert '<g class="mlbio-x-plus mlbio-x-strong" style="--w:1.000">' in html
    assert '<g class="mlbio-x-plus" style="--w:0.012">' in html


def test_hiding_the_rest_leaves_the_supporting_regions():
    html = explanation.view(PHOTOGRAPH, "Melanoma", figures(), id="a")
    paths = dict(re.findall(r'data-region="(\d)" d="([^"]+)"', html))
    (veil,) = re.findall(r'mlbio-x-veil" fill-rule="evenodd" d="([^"]+)"', html)
    assert [paths[n] in veil for n in "0123"] == [True, False, True, False]


def test_pairs_are_described_in_words():
    html = explanation.view(PHOTOGRAPH, "Melanoma", figures(), id="a")
    assert re.findall(r'<th scope="row">(\d \+ \d)</th>.*?<td>(.*?)</td>', html) == [
        ("1 + 3", "the two matter only together"),
        ("1 + 2", "either can replace the other"),
    ]


def test_it_loads_nothing():
    html = explanation.view(PHOTOGRAPH, "Melanoma", figures(), id="a")
    assert not re.search(r'(?:href|src)="(?!data:image/jpeg)', html) and "url(" not in html


def test_weights_of_zero_can_be_shown():
    regions = Regions(figures().regions.map, [0.0] * 4, [0.1] * 4, [])
    assert "up to +0.00" in explanation.view(PHOTOGRAPH, "Melanoma", figures(regions=regions), id="a")


def test_regions_without_a_weight_are_refused():
    regions = Regions(figures().regions.map, [0.1] * 3, [0.1] * 3, [])
    with pytest.raises(ValueError, match="without a weight"):
        explanation.view(PHOTOGRAPH, "Melanoma", figures(regions=regions), id="a")


def test_what_the_service_says_is_escaped():
    assert "<script" not in explanation.view(PHOTOGRAPH, "<script>", figures(), id="a")
