"""The sets of diagnoses that cannot be excluded."""

from __future__ import annotations

import numpy as np
import pytest

from handler.model.plausible import plausible


def test_a_set_holds_what_reaches_the_threshold():
    rows = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.25, 0.25, 0.5]])
    assert plausible(rows, 0.25).tolist() == [[True, True, False], [False, True, False], [True, True, True]]


def test_the_most_probable_class_is_always_in_it():
    assert plausible(np.array([0.3, 0.45, 0.25]), 0.9).tolist() == [False, True, False]


def test_a_threshold_of_zero_excludes_nothing():
    assert plausible(np.array([1.0, 0.0, 0.0]), 0.0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_threshold_is_not_rounded(dtype: type):
    rows = np.array([0.9, 0.1], dtype)
    exact = float(rows[1])
    assert plausible(rows, exact)[1] and not plausible(rows, float(np.nextafter(exact, 1)))[1]
