"""How reliable an explanation is, in words."""

from __future__ import annotations

from typing import Any

import pytest

from frontend.i18n import use_language
from frontend.reliability import assess, rows
from tests.unit.frontend.answers import figures


@pytest.mark.parametrize(
    ("changes", "heading"),
    [
        ({}, "Stable and faithful explanation"),
        ({"r2_with_pairs": 0.5}, "Weak explanation"),
        ({"r2_with_pairs": 0.5, "stability": 0.6}, "Weak explanation"),
        ({"stability": 0.75}, "Unstable explanation"),
        ({"r2_with_pairs": 0.7}, "Fair explanation"),
        ({"stability": 0.85}, "Faithful explanation, but only fairly stable"),
    ],
)
def test_it_is_summed_up(changes: dict[str, Any], heading: str):
    assert assess(figures(**changes)).heading.startswith(heading)


def test_a_missed_target_is_reported_with_its_figures():
    missed = figures(stability=0.82, target=0.95, reached=False, stopped="budget")
    assert assess(missed).sentences == ["Target not reached: stability 0.82 of 0.95."]
    assert assess(figures()).sentences == []
    with use_language("fr"):
        assert assess(missed).sentences == ["Objectif non atteint\u00a0: stabilité de 0,82 au lieu de 0,95."]


def test_a_deadline_and_pairs_that_matter_are_reported():
    assert "The time limit was reached" in assess(figures(stopped="deadline")).sentences[0]
    assert "pairs" in assess(figures(r2=0.3)).sentences[0]


def test_every_figure_is_listed():
    listed = dict(rows(figures(completeness=None)))
    assert listed["Perturbed photographs"] == "512" and listed["R² with pairs of regions"] == "0.87"
    assert listed["Completeness (1 is best)"] == "unknown"
    assert listed["Stopped by"] == "the strongest regions were stable"
