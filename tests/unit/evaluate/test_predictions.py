"""Predictions stored as a CSV file."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from api.classes import CLASSES
from evaluate.dataset import DataError, Example
from evaluate.predictions import Predictions
from evaluate.scoring import score_card
from tests.unit.evaluate.sets import MEL, NV, examples_of, random_predictions


@pytest.mark.parametrize(
    "optional",
    [{}, {"novelty": np.arange(80) / 39.7, "malignant_threshold": 1 / 3}, {"plausible_threshold": 0.0}],
    ids=["nothing", "novelty, malignant", "plausible"],
)
def test_stored_predictions_give_the_same_card(tmp_path, optional):
    predictions = random_predictions(80, **optional)
    predictions.write(tmp_path / "p.csv")
    again = Predictions.read(tmp_path / "p.csv")
    assert again.examples == predictions.examples and again.model == predictions.model
    assert score_card(again, 30) == score_card(predictions, 30)
    again.write(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "p.csv").read_bytes()


def test_a_spreadsheet_does_not_run_the_name_of_a_photograph_as_a_formula(tmp_path, small):
    named = replace(small, examples=[replace(e, path=Path(f"=HYPERLINK({e.path})")) for e in small.examples])
    named.write(tmp_path / "p.csv")
    assert "\n=" not in (tmp_path / "p.csv").read_text()
    assert Predictions.read(tmp_path / "p.csv").examples == named.examples


def test_any_float32_is_stored_exactly(tmp_path):
    rng = np.random.default_rng(0)
    first = (rng.random(3000) ** 8).astype(np.float32)
    probabilities = np.zeros((3000, 7), np.float32)
    probabilities[:, 0], probabilities[:, 6] = first, 1 - first
    Predictions(examples_of([NV] * 3000), probabilities).write(tmp_path / "p.csv")
    again = Predictions.read(tmp_path / "p.csv").probabilities
    assert again.dtype == np.float32
    np.testing.assert_array_equal(again, probabilities)


def test_columns(tmp_path, small):
    replace(small, plausible_threshold=0.06).write(tmp_path / "p.csv")
    with (tmp_path / "p.csv").open(newline="") as file:
        first = next(iter(csv.DictReader(file)))
    assert list(first) == [
        "file", "lesion_id", "dx", "age", "sex", "localization", "model", "sha256", "novelty", "malignant_threshold",
        "plausible_threshold", *CLASSES,
    ]  # fmt: skip
    assert list(first.values())[:11] == [
        "0.jpg", "a", "mel", "29.9", "male", "back", "m.pth", "0123456789ab", "0.5", "0.75", "0.06",
    ]  # fmt: skip
    examples = [replace(e, source="milk10k", skin_tone="3" if i else "") for i, e in enumerate(small.examples)]
    replace(small, examples=examples).write(tmp_path / "p.csv")
    assert Predictions.read(tmp_path / "p.csv").examples == examples


def test_files_of_other_programs_need_only_files_diagnoses_and_probabilities(tmp_path):
    (tmp_path / "p.csv").write_text("dx,file,nv,mel,bcc,bkl,df,akiec,vasc\nmel,a.jpg,.25,.75,0,0,0,0,0\n")
    predictions = Predictions.read(tmp_path / "p.csv")
    assert predictions.examples == [Example(Path("a.jpg"), MEL, "")]
    card = score_card(predictions, 2)
    assert card.model is None and card.metrics.accuracy.value == 1


HEAD = "file,dx,akiec,bcc,bkl,df,mel,nv,vasc"
UNREADABLE = {
    "no row": (HEAD, "has no row"),
    "no column": ("file,dx,akiec,bcc,bkl,df,mel,nv\na,nv,0,0,0,0,0,1", "has no column 'vasc'; it has file, dx"),
    "unknown class": (f"{HEAD}\na,scc,0,0,0,0,0,1,0", "a has dx 'scc'; known are akiec, bcc"),
    "not finite": (f"{HEAD}\na,nv,0,0,0,0,0,nan,0", "a has nv 'nan', which is not a number"),
    "short row": (f"{HEAD}\na,nv,0,0,0,0,0,1", "a has vasc None, which is not a number"),
    "sum": (f"{HEAD}\na,nv,0,0,0,0,0,0.9,0", "the probabilities of a are negative or do not add up to 1"),
    "negative": (f"{HEAD}\na,nv,0,0,0,0,-1,2,0", "the probabilities of a are negative"),
    "novelty": (f"{HEAD},novelty\na,nv,0,0,0,0,0,1,0,far", "a has novelty 'far', which is not a number"),
    "two models": (f"{HEAD},model\na,nv,0,0,0,0,0,1,0,x\nb,nv,0,0,0,0,0,1,0,y", "more than one model: keep the rows"),
}


@pytest.mark.parametrize("fault", UNREADABLE)
def test_a_fault_of_the_file_is_named(tmp_path, fault):
    text, expected = UNREADABLE[fault]
    (tmp_path / "p.csv").write_text(text + "\n")
    with pytest.raises(DataError, match=re.escape(expected)):
        Predictions.read(tmp_path / "p.csv")
