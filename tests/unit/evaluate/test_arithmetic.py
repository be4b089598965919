"""One arithmetic beside float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evaluate import arithmetic
from evaluate.dataset import DataError
from tests.unit.evaluate.sets import MEL, NV, confident


def test_the_same_answers_differ_in_nothing():
    answers = confident([MEL, NV, NV])
    figures = arithmetic.compare("float32", answers, answers, np.array([MEL, NV, MEL]))
    assert (figures.agreement, figures.largest_difference, figures.log_odds_rmse) == (1, 0, 0)
    assert figures.accuracy == pytest.approx(2 / 3, abs=1e-4) and figures.balanced_accuracy == 0.75


def test_differences_are_measured():
    reference, faster = confident([MEL, NV, NV, NV], 0.7), confident([MEL, NV, NV, MEL], 0.7)
    figures = arithmetic.compare("int8", faster, reference, np.array([MEL, NV, NV, NV]))
    assert figures.agreement == 0.75 and figures.accuracy == 0.75
    assert figures.largest_difference == pytest.approx(0.65)
    change = np.log(0.7 / 0.3) - np.log(0.05 / 0.95)
    assert figures.log_odds_rmse == pytest.approx(change * np.sqrt(2 / 28), abs=1e-3)


def test_one_class_has_no_auroc():
    answers = confident([NV, NV])
    assert arithmetic.compare("bfloat16", answers, answers, np.array([NV, NV])).macro_auroc is None


def test_kept_figures_are_read_again(tmp_path: Path):
    answers = confident([MEL, NV])
    figures = [arithmetic.compare("float32", answers, answers, np.array([MEL, NV]))]
    arithmetic.write(figures, tmp_path / "arithmetic.json")
    assert arithmetic.read(tmp_path / "arithmetic.json") == figures
    assert arithmetic.read(tmp_path / "none.json") == []
    (tmp_path / "arithmetic.json").write_text('[{"name": 1}]')
    with pytest.raises(DataError, match="does not hold figures"):
        arithmetic.read(tmp_path / "arithmetic.json")
