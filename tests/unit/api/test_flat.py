"""Flat rows, and what an eighth class takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from api.answer import Prediction
from api.flat import COLUMNS, EXPLANATION_COLUMNS, flat
from tests.answers import DETAILS


def test_every_column_has_a_value_of_its_type():
    row = flat(Prediction(prediction="Melanoma", probability=0.6, details=DETAILS))
    types = COLUMNS | EXPLANATION_COLUMNS
    assert list(row) == list(types) and {name: type(value) for name, value in row.items()} == types
    assert (row["dx"], row["p_mel"], row["p_df"], row["plausible"]) == ("mel", 0.6, 0.0, "Melanoma; Melanocytic nevi")
    assert (row["malignant_probability"], row["malignant"], row["novelty"], row["unlike"]) == (0.6, True, 0.5, False)


@pytest.mark.parametrize("answer", [None, Prediction(prediction="Melanoma", probability=0.6)], ids=["none", "bare"])
def test_what_an_answer_lacks_is_none(answer: Prediction | None):
    row = flat(answer)
    assert list(row) == [*COLUMNS, *EXPLANATION_COLUMNS]
    known = {name: value for name, value in row.items() if value is not None}
    assert known == ({} if answer is None else {"prediction": "Melanoma", "dx": "mel", "probability": 0.6})


EIGHTH = """
import base64, csv, io, sys
from api import classes
classes.CLASSES["scc"] = "Squamous cell carcinoma"
classes.MALIGNANT += ("scc",)
# All else is imported after this, as it would be with these lines in api/classes.py.
import msgspec, pyarrow as pa
from api.answer import Details, Model, Prediction, succeed
from api.client import _predictions
from api.openapi import document
from api.request import parse_json
from scale.files import SCHEMA, row
from cli import arguments, output

request = parse_json(msgspec.json.encode({"image": base64.b64encode(b"x").decode(), "details": True}))
assert request.details
details = Details({"Squamous cell carcinoma": 0.7, "Melanoma": 0.3}, None, None, Model("resnet34", "0"), None)
answer = succeed(Prediction(prediction="Squamous cell carcinoma", probability=0.7, details=details))
prediction = _predictions.decode(answer.body)
sys.stdout = io.TextIOWrapper(file := io.BytesIO(), "utf-8")
output.writer("csv", 2, True)(output.Row("a.jpg", prediction))
sys.stdout.flush()
(line,) = csv.DictReader(io.StringIO(file.getvalue().decode()))
assert (line["dx"], line["p_scc"], line["prediction_2"]) == ("scc", "0.7", "Melanoma"), line
(kept,) = pa.Table.from_pylist([row("a.jpg", answer)], SCHEMA).to_pylist()
assert (kept["dx"], kept["p_scc"]) == ("scc", 0.7)
schemas = document()["components"]["schemas"]
assert "Squamous cell carcinoma" in schemas["Prediction"]["properties"]["prediction"]["enum"]
assert "Squamous cell carcinoma" in schemas["Malignant"]["properties"]["probability"]["description"]
assert arguments.parse(["--top", "8", "a.jpg"]).top == 8
"""


def test_an_eighth_class_is_a_line_of_api_classes():
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", EIGHTH], cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
