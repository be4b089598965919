"""Rows without a service."""

from __future__ import annotations

import msgspec
import pytest

from api.answer import Details, ExplanationFigures, Malignant, Model, OutOfDistribution, Prediction, Regions
from cli.output import Row, csv_columns, csv_row, json_row, text_row

DETAILS = Details(
    probabilities={"Melanoma": 0.5, "Melanocytic nevi": 0.3, "Dermatofibroma": 0.2},
    malignant=Malignant(0.4, 0.3, True),
    out_of_distribution=OutOfDistribution(0.5, False),
    model=Model("resnet34", "0"),
    explanation=None,
    plausible=None,
)
MALIGNANT = "; malignant diagnoses together 40.0%"


def row(name: str = "a.jpg", **changes: object) -> Row:
    return Row(
        name, Prediction(prediction="Melanoma", probability=0.5, details=msgspec.structs.replace(DETAILS, **changes))
    )


@pytest.mark.parametrize(
    ("changes", "warnings"),
    [
        ({}, MALIGNANT),
        ({"malignant": None, "out_of_distribution": None}, ""),
        ({"malignant": Malignant(0.2, 0.3, False), "plausible": ["Melanoma"]}, ""),
        (
            {"plausible": ["Melanoma", "Dermatofibroma"], "out_of_distribution": OutOfDistribution(2.0, True)},
            f"{MALIGNANT}; cannot be excluded: melanoma, dermatofibroma"
            "; unlike the photographs that the model knows: not to be trusted",
        ),
    ],
)
def test_a_line_ends_in_the_warnings(changes: dict[str, object], warnings: str):
    assert text_row(row(**changes)) == f"a.jpg: Melanoma (50.0%){warnings}"


@pytest.mark.parametrize(
    ("weights", "words"), [([0.0, 0.0], "hiding any region"), ([-0.1, 0.0], "no region supports"), ([0.1, 0.0], "")]
)
def test_a_photograph_that_no_region_of_supports_the_diagnosis(weights: list[float], words: str):
    """As one of one colour, which has no figures but the number of samples."""
    regions = Regions("", weights, None, [])
    figures = ExplanationFigures("Faible", 32, 0.5, None, None, None, None, 0.9, None, "settled", regions)
    line, *details = text_row(row(malignant=None, explanation=figures), details=True).splitlines()
    assert words in line and (";" in line) is bool(words)
    assert "    explanation: 32 samples" in details


def test_an_answer_without_details_has_no_warnings():
    assert (
        text_row(Row("a.jpg", Prediction(prediction="Melanoma", probability=0.5)), top=3) == "a.jpg: Melanoma (50.0%)"
    )


def test_the_most_probable_come_first():
    assert text_row(row(malignant=None), top=2) == "a.jpg: Melanoma (50.0%), Melanocytic nevi (30.0%)"
    assert csv_row(row(), top=2)["prediction_2"] == "Melanocytic nevi"
    assert [t["diagnosis"] for t in json_row(row(), top=2)["top"]] == ["Melanoma", "Melanocytic nevi"]


def test_a_terminal_has_columns_and_a_strange_name_stays_on_its_line():
    lines = [text_row(row(name), terminal=100, colour=True) for name in ("a.jpg", "x" * 90, "b\n\x1b[2J")]
    assert len({line.index("Melanoma") for line in lines}) == 1
    assert all("\n" not in line and "\x1b[2J" not in line and "\x1b[1;31mmalignant" in line for line in lines)


def test_json_and_csv_have_the_same_columns_but_for_lists():
    expected = {"malignant_probability": 0.4, "malignant": True, "novelty": 0.5, "unlike": False}
    two = row(plausible=["Melanoma", "Dermatofibroma"])
    for made in (json_row(two), csv_row(two)):
        assert {name: made[name] for name in expected} == expected
    assert csv_row(two)["plausible"] == "Melanoma; Dermatofibroma"
    assert json_row(two)["plausible"] == ["Melanoma", "Dermatofibroma"]
    assert csv_row(row())["plausible"] is json_row(row())["plausible"] is None


def test_details_add_columns_and_move_none():
    plain, detailed = csv_columns(), csv_columns(details=True)
    assert detailed[: len(plain)] == plain and {"dx", "p_mel", "stability", "r2", "model"} <= {*detailed} - {*plain}
    for top, details in ((1, False), (3, True)):
        assert list(csv_row(row(), top, details)) == csv_columns(top, details)


def test_a_failure_has_every_key():
    failed = json_row(Row("a.jpg", error="why"), 3, True)
    assert failed.keys() >= json_row(row()).keys()
    assert failed["success"] is False and failed["error"] == "why" and failed["prediction"] is None
