"""How far to trust an explanation, in words."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api.answer import ExplanationFigures
from frontend.judgement import judge, rows
from frontend.language import speaker
from tests.unit.frontend.answers import figures

ENGLISH, FRENCH = speaker("en"), speaker("fr")


@pytest.mark.parametrize(
    ("changes", "heading"),
    [
        ({}, "Steady and faithful explanation"),
        ({"r2_with_pairs": 0.5}, "Weak explanation"),
        ({"r2_with_pairs": 0.5, "stability": 0.6}, "Weak explanation"),
        ({"stability": 0.75}, "Unsteady explanation"),
        ({"r2_with_pairs": 0.7}, "Fair explanation"),
        ({"stability": 0.85}, "Faithful explanation, but only fairly steady"),
    ],
)
def test_it_is_summed_up(changes: dict[str, Any], heading: str):
    assert judge(figures(**changes), ENGLISH).heading.startswith(heading)


def test_a_missed_target_is_told_with_its_figures():
    missed = figures(stability=0.82, target=0.95, reached=False, stopped="budget")
    assert judge(missed, ENGLISH).sentences == ["Target not reached: stability 0.82 of 0.95."]
    assert judge(missed, FRENCH).sentences == ["Objectif non atteint\u00a0: stabilité de 0,82 au lieu de 0,95."]
    assert judge(figures(), ENGLISH).sentences == []


def test_a_deadline_and_pairs_that_matter_are_told():
    assert judge(figures(stopped="deadline"), ENGLISH).sentences == [
        "The time limit ended it; this is the best so far."
    ]
    assert "pairs" in judge(figures(r2=0.3), ENGLISH).sentences[0]


def test_every_figure_stands_behind_it():
    told = dict(rows(figures(completeness=None), ENGLISH))
    assert told["Perturbed photographs"] == "512" and told["R² with pairs of regions"] == "0.87"
    assert told["R² with triples of regions"] == "0.92" and told["Completeness (1 is best)"] == "unknown"
    assert told["Ended by"] == "the strongest regions were stable"


def test_an_archive_from_before_a_figure_is_understood():
    """``make rollback`` may go back to one."""
    content = msgspec.to_builtins(figures())
    del content["r2_with_triples"]
    older = msgspec.convert(content, ExplanationFigures)
    assert dict(rows(older, ENGLISH))["R² with triples of regions"] == "unknown"
