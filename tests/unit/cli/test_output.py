"""Rows without a service."""

from __future__ import annotations

import pytest

from api.answer import Details, Malignant, Model, OutOfDistribution, Prediction
from cli.output import Row, csv_columns, csv_row, json_row, text_row


def details(malignant: bool | None, unlike: bool | None, plausible: list[str] | None = None) -> Details:
    return Details(
        probabilities={"Melanoma": 0.5, "Melanocytic nevi": 0.3, "Dermatofibroma": 0.2},
        malignant=None if malignant is None else Malignant(0.4, 0.3, malignant),
        out_of_distribution=None if unlike is None else OutOfDistribution(0.5, unlike),
        model=Model("resnet34", "0"),
        explanation=None,
        plausible=plausible,
    )


MALIGNANT = "; malignant diagnoses together 40.0%"
UNLIKE = "; unlike the photographs that the model knows: not to be trusted"


@pytest.mark.parametrize(
    ("malignant", "unlike", "expected"),
    [
        (None, None, ""),
        (False, False, ""),
        (True, None, MALIGNANT),
        (None, True, UNLIKE),
        (True, True, MALIGNANT + UNLIKE),
    ],
)
def test_a_line_ends_in_the_warnings(malignant: bool | None, unlike: bool | None, expected: str):
    answer = Prediction(prediction="Melanoma", probability=0.5, details=details(malignant, unlike))
    assert text_row(Row("a.jpg", answer)) == f"a.jpg: Melanoma (50.0%){expected}"


@pytest.mark.parametrize(
    ("plausible", "said", "cell", "value"),
    [
        (None, "", None, None),
        (["Melanoma"], "", "Melanoma", ["Melanoma"]),
        (
            ["Melanoma", "Melanocytic nevi"],
            "; cannot be excluded: melanoma, melanocytic nevi",
            "Melanoma; Melanocytic nevi",
            ["Melanoma", "Melanocytic nevi"],
        ),
    ],
)
def test_what_cannot_be_excluded(plausible: list[str] | None, said: str, cell: str | None, value: list[str] | None):
    known = details(True, True, plausible)
    row = Row("a.jpg", Prediction(prediction="Melanoma", probability=0.5, details=known))
    assert text_row(row) == f"a.jpg: Melanoma (50.0%){MALIGNANT}{said}{UNLIKE}"
    assert csv_row(row)["plausible"] == cell and json_row(row)["plausible"] == value
    assert json_row(row, details=True)["details"]["plausible"] == value


def test_an_answer_without_details_has_no_warnings():
    assert text_row(Row("a.jpg", Prediction(prediction="Melanoma", probability=0.5)), top=3).endswith("(50.0%)")


def test_the_most_probable_come_first():
    row = Row("a.jpg", Prediction(prediction="Melanoma", probability=0.5, details=details(None, None)))
    assert text_row(row, top=2) == "a.jpg: Melanoma (50.0%), Melanocytic nevi (30.0%)"
    assert csv_row(row, top=2)["prediction_2"] == "Melanocytic nevi"
    assert [t["diagnosis"] for t in json_row(row, top=2)["top"]] == ["Melanoma", "Melanocytic nevi"]


def test_a_terminal_has_columns_and_a_strange_name_stays_on_its_line():
    answer = Prediction(prediction="Melanoma", probability=0.5, details=details(True, None))
    lines = [text_row(Row(name, answer), terminal=100, colour=True) for name in ("a.jpg", "x" * 90, "b\n\x1b[2J")]
    assert len({line.index("Melanoma") for line in lines}) == 1
    assert all("\n" not in line and "\x1b[2J" not in line and "\x1b[1;31mmalignant" in line for line in lines)


def test_a_flag_and_what_it_is_raised_for_have_a_column_each():
    row = Row("a.jpg", Prediction(prediction="Melanoma", probability=0.5, details=details(True, False)))
    expected = {"malignant_probability": 0.4, "malignant": True, "novelty": 0.5, "unlike": False}
    for made in (json_row(row), csv_row(row)):
        assert {name: made[name] for name in expected} == expected


def test_details_add_columns_and_move_none():
    plain, detailed = csv_columns(), csv_columns(details=True)
    assert detailed[: len(plain)] == plain and {"dx", "p_mel", "stability", "r2", "model"} <= {*detailed} - {*plain}


def test_every_cell_has_a_column():
    row = Row("a.jpg", Prediction(prediction="Melanoma", probability=0.5, details=details(True, False)))
    for top, asked in ((1, False), (3, True)):
        assert list(csv_row(row, top, asked)) == csv_columns(top, asked)
    assert csv_row(Row("a.jpg", error="why"))["plausible"] is None
    failed = json_row(Row("a.jpg", error="why"), 3, True)
    assert failed["success"] is False and failed["error"] == "why"
    assert failed["prediction"] is None and failed["plausible"] is None
