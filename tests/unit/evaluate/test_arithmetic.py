"""One arithmetic compared with float32."""

from __future__ import annotations

import numpy as np
import pytest

from evaluate.arithmetic import compare
from tests.unit.evaluate.sets import MEL, NV, confident


def test_differences_are_measured():
    reference, faster = confident([MEL, NV, NV, NV], 0.7), confident([MEL, NV, NV, MEL], 0.7)
    labels = np.array([MEL, NV, NV, NV])
    same = compare("float32", reference, reference, labels)
    assert (same.accuracy, same.agreement, same.largest_difference, same.log_odds_rmse) == (1, 1, 0, 0)
    different = compare("int8", faster, reference, labels)
    assert different.agreement == 0.75 and different.accuracy == 0.75
    assert different.largest_difference == pytest.approx(0.65)
    change = np.log(0.7 / 0.3) - np.log(0.05 / 0.95)
    assert different.log_odds_rmse == pytest.approx(change * np.sqrt(2 / 28), abs=1e-3)


def test_one_class_has_no_auroc():
    probabilities = confident([NV, NV])
    assert compare("bfloat16", probabilities, probabilities, np.array([NV, NV])).macro_auroc is None
