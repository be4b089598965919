"""Confidence intervals."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from evaluate import bootstrap, metrics
from evaluate.bootstrap import Bootstrap, Estimate, clusters_of


def width(values: np.ndarray, clusters: np.ndarray, resamples: int = 2000, seed: int = 0) -> float:
    estimate = Bootstrap(clusters, resamples, seed).estimate(partial(metrics.mean, values))
    return estimate.high - estimate.low


def test_images_of_a_lesion_are_one_cluster_and_those_without_are_their_own():
    assert clusters_of(["b", "a", "b", "", "", "a"]).tolist() == [0, 1, 0, 2, 3, 1]


def test_two_lesions_have_three_resamples():
    """Three correct images of one lesion, a wrong one of another: all correct, all wrong or as they are."""
    correct, clusters = np.array([1, 1, 1, 0]), np.array([0, 0, 0, 1])
    seen = []

    def accuracy(weights):
        seen.append(metrics.mean(correct, weights))
        return seen[-1]

    assert Bootstrap(clusters, 1000, 0).estimate(accuracy) == Estimate(0.75, 0, 1)
    values, counts = np.unique(np.concatenate(seen[1:]), return_counts=True)
    assert values.tolist() == [0, 0.75, 1] and counts.sum() == 1000
    np.testing.assert_allclose(counts / 1000, [0.25, 0.5, 0.25], atol=0.05)


def test_independent_images_have_the_width_of_the_normal_approximation():
    correct = np.arange(400) % 5 > 0
    assert width(correct, np.arange(400)) == pytest.approx(2 * 1.96 * np.sqrt(0.8 * 0.2 / 400), rel=0.1)
    assert width(correct, np.zeros(400, int)) == 0


def test_copies_of_an_image_do_not_narrow_the_interval():
    correct = np.arange(100) % 5 > 0
    alone = width(correct, np.arange(100))
    copies, lesions = np.repeat(correct, 4), np.repeat(np.arange(100), 4)
    assert width(copies, lesions) == pytest.approx(alone)  # the same draws
    assert width(copies, np.arange(400)) == pytest.approx(alone / 2, rel=0.15)


def test_intervals_depend_on_the_seed_and_not_on_how_many_are_computed_at_once(monkeypatch):
    correct, clusters = np.arange(100) % 3 > 0, np.arange(100) // 2
    first = width(correct, clusters, seed=1)
    monkeypatch.setattr(bootstrap, "CHUNK_CELLS", 700)
    assert width(correct, clusters, seed=1) == first != width(correct, clusters, seed=2)


def test_resamples_in_which_a_metric_is_not_defined_are_left_out():
    resamples = Bootstrap(np.arange(3), 50, 0)
    first = resamples.estimate(lambda weights: metrics.ratio(weights[:, :1] @ np.array([0.5]), weights[:, 0]))
    assert first == Estimate(0.5, 0.5, 0.5)
    assert resamples.estimate(lambda weights: weights[:, 0] * np.nan) == Estimate(None, None, None)
