"""Answers stored as a CSV file."""

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
from evaluate.score_card import as_json, score_card
from tests.unit.evaluate.sets import MEL, NV, examples_of, random_predictions


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"novelty": np.arange(80) / 39.7},
        {"malignant_threshold": 1 / 3},
        {"plausible_threshold": 1 / 30},
        {"malignant_threshold": 1 / 3, "plausible_threshold": 0.0},
    ],
)
def test_kept_answers_give_the_same_card(tmp_path, more):
    predictions = random_predictions(80, **more)
    predictions.write(tmp_path / "p.csv")
    again = Predictions.read(tmp_path / "p.csv")
    assert again.examples == predictions.examples and again.model == predictions.model
    for threshold in ("malignant_threshold", "plausible_threshold"):
        assert getattr(again, threshold) == getattr(predictions, threshold) == more.get(threshold)
    np.testing.assert_array_equal(again.probabilities, predictions.probabilities)
    assert again.probabilities.dtype == np.float32
    assert as_json(score_card(again, 30)) == as_json(score_card(predictions, 30))
    again.write(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "p.csv").read_bytes()


def test_any_float32_is_kept_exactly(tmp_path):
    rng = np.random.default_rng(0)
    first = (rng.random(3000) ** 8).astype(np.float32)
    probabilities = np.zeros((3000, 7), np.float32)
    probabilities[:, 0], probabilities[:, 6] = first, 1 - first
    Predictions(examples_of([NV] * 3000), probabilities).write(tmp_path / "p.csv")
    np.testing.assert_array_equal(Predictions.read(tmp_path / "p.csv").probabilities, probabilities)


def test_columns_of_kept_answers(tmp_path, small):
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


def test_source_and_skin_tone_are_kept_where_one_is_known(tmp_path, small):
    with_source = [replace(e, source="milk10k") for e in small.examples]
    both = [replace(e, skin_tone="3" if i else "") for i, e in enumerate(with_source)]
    for examples, columns in ((small.examples, []), (with_source, ["source"]), (both, ["source", "skin_tone"])):
        replace(small, examples=examples).write(tmp_path / "p.csv")
        head = (tmp_path / "p.csv").read_text().splitlines()[0]
        assert head.startswith(",".join(["file,lesion_id,dx,age,sex,localization", *columns, "model,sha256,"]))
        assert Predictions.read(tmp_path / "p.csv").examples == examples


def test_answers_of_others_need_only_files_diagnoses_and_probabilities(tmp_path):
    (tmp_path / "p.csv").write_text("dx,file,nv,mel,bcc,bkl,df,akiec,vasc\nmel,a.jpg,.25,.75,0,0,0,0,0\n")
    (example,) = Predictions.read(tmp_path / "p.csv").examples
    assert example == Example(Path("a.jpg"), MEL, "")
    card = score_card(Predictions.read(tmp_path / "p.csv"), 2)
    assert card.model is None and card.metrics.accuracy.value == 1


HEAD = "file,dx,akiec,bcc,bkl,df,mel,nv,vasc"
UNREADABLE = {
    "no row": (HEAD, "has no row"),
    "no column": ("file,dx,akiec,bcc,bkl,df,mel,nv\na,nv,0,0,0,0,0,1", "has no column 'vasc'; it has file, dx"),
    "unknown class": (f"{HEAD}\na,scc,0,0,0,0,0,1,0", "a has dx 'scc'; known are akiec, bcc"),
    "text": (f"{HEAD}\na,nv,0,0,0,0,0,one,0", "a has nv 'one', which is not a number"),
    "not finite": (f"{HEAD}\na,nv,0,0,0,0,0,nan,0", "a has nv 'nan', which is not a number"),
    "short row": (f"{HEAD}\na,nv,0,0,0,0,0,1", "a has vasc None, which is not a number"),
    "sum": (f"{HEAD}\na,nv,0,0,0,0,0,0.9,0", "the probabilities of a are negative or do not add up to 1"),
    "negative": (f"{HEAD}\na,nv,0,0,0,0,-1,2,0", "the probabilities of a are negative"),
    "novelty": (f"{HEAD},novelty\na,nv,0,0,0,0,0,1,0,far", "a has novelty 'far', which is not a number"),
    "threshold": (
        f"{HEAD},plausible_threshold\na,nv,0,0,0,0,0,1,0,low",
        "a has plausible_threshold 'low', which is not",
    ),
    "two models": (f"{HEAD},model\na,nv,0,0,0,0,0,1,0,x\nb,nv,0,0,0,0,0,1,0,y", "more than one model: keep the rows"),
}


@pytest.mark.parametrize("fault", UNREADABLE)
def test_answers_that_cannot_be_read_are_refused(tmp_path, fault):
    text, expected = UNREADABLE[fault]
    (tmp_path / "p.csv").write_text(text + "\n")
    with pytest.raises(DataError, match=re.escape(expected)):
        Predictions.read(tmp_path / "p.csv")
