"""Confidence intervals."""

from __future__ import annotations

import numpy as np
import pytest

from evaluate import bootstrap, metrics
from evaluate.bootstrap import Bootstrap, clusters_of, draw_weights


def accuracy_of(right: np.ndarray):
    return lambda weights: metrics.ratio(weights @ right.astype(float), weights.sum(-1))


def width(right: np.ndarray, clusters: np.ndarray, **options) -> float:
    settings = {"resamples": 2000, "seed": 0} | options
    estimate = Bootstrap(clusters, **settings).estimate(accuracy_of(right))
    return float(estimate.high - estimate.low)


def test_images_of_a_lesion_are_one_cluster_and_those_without_stand_alone():
    assert clusters_of(["b", "a", "b", "", "", "a"]).tolist() == [0, 1, 0, 2, 3, 1]


def test_a_resample_takes_whole_lesions_and_as_many_as_there_are():
    clusters, rng = np.array([0, 0, 0, 1, 2, 2]), np.random.default_rng(0)
    drawn = np.stack([draw_weights(clusters, rng) for _ in range(300)])
    assert (
        (drawn[:, 0] == drawn[:, 1]).all() and (drawn[:, 0] == drawn[:, 2]).all() and (drawn[:, 4] == drawn[:, 5]).all()
    )
    assert (drawn[:, [0, 3, 4]].sum(1) == 3).all()
    np.testing.assert_allclose(drawn.mean(0), 1, atol=0.15)


def test_two_lesions_have_three_resamples():
    """Three right images of one lesion, a wrong one of another: all right, all wrong or as they are."""
    right, clusters = np.array([1, 1, 1, 0]), np.array([0, 0, 0, 1])
    seen = []

    def figures(weights):
        seen.append(accuracy_of(right)(weights))
        return seen[-1]

    estimate = Bootstrap(clusters, 1000, 0).estimate(figures)
    assert tuple(map(float, estimate)) == (0.75, 0, 1)
    values, counts = np.unique(np.concatenate(seen[1:]), return_counts=True)
    assert values.tolist() == [0, 0.75, 1] and counts.sum() == 1000
    np.testing.assert_allclose(counts / 1000, [0.25, 0.5, 0.25], atol=0.05)


def test_one_lesion_tells_nothing_of_its_spread():
    assert width(np.array([1, 0, 1]), np.zeros(3, int)) == 0


def test_images_on_their_own_have_the_width_of_the_normal_approximation():
    right = np.arange(400) % 5 > 0
    assert width(right, np.arange(400)) == pytest.approx(2 * 1.96 * np.sqrt(0.8 * 0.2 / 400), rel=0.1)


def test_copies_of_an_image_add_no_knowledge():
    right = np.arange(100) % 5 > 0
    alone = width(right, np.arange(100))
    copies, lesions = np.repeat(right, 4), np.repeat(np.arange(100), 4)
    assert width(copies, lesions) == pytest.approx(alone)  # the same draws
    assert width(copies, np.arange(400)) == pytest.approx(alone / 2, rel=0.15)


def test_intervals_depend_on_the_seed_alone_and_not_on_how_many_are_computed_at_once(monkeypatch):
    right, clusters = np.arange(100) % 3 > 0, np.arange(100) // 2
    first = width(right, clusters, seed=1)
    monkeypatch.setattr(bootstrap, "CHUNK_CELLS", 700)
    assert width(right, clusters, seed=1) == first
    assert width(right, clusters, seed=2) != first


def test_resamples_that_do_not_define_a_figure_are_left_out():
    resamples = Bootstrap(np.arange(3), 50, 0)
    first = resamples.estimate(lambda weights: metrics.ratio(weights[:, :1] @ np.array([0.5]), weights[:, 0]))
    none = resamples.estimate(lambda weights: weights[:, 0] * np.nan)
    assert tuple(map(float, first)) == (0.5, 0.5, 0.5)
    assert np.isnan(none).all()


def test_figures_of_several_values_have_an_interval_each():
    resamples = Bootstrap(np.arange(20), 100, 0)
    both = resamples.estimate(lambda weights: weights[:, :2])
    first = resamples.estimate(lambda weights: weights[:, 0])
    assert both.low.shape == (2,)
    assert [float(e) for e in first] == [float(e[0]) for e in both]
