"""Answers as rows of Parquet."""

from __future__ import annotations

import pyarrow as pa
import pytest

from api.answer import Details, Model, Prediction, succeed
from bulk.rows import SCHEMA, row


@pytest.mark.parametrize(
    ("plausible", "cell"),
    [(None, None), (["Melanoma"], "Melanoma"), (["Melanoma", "Melanocytic nevi"], "Melanoma; Melanocytic nevi")],
)
def test_the_diagnoses_that_cannot_be_excluded_are_one_text(plausible: list[str] | None, cell: str | None):
    details = Details({"Melanoma": 0.6}, None, None, Model("resnet34", "0"), None, plausible)
    answer = succeed(Prediction(prediction="Melanoma", probability=0.6, details=details))
    (kept,) = pa.Table.from_pylist([row("a.jpg", answer)], SCHEMA).to_pylist()
    assert kept["plausible"] == cell and kept["dx"] == "mel"
