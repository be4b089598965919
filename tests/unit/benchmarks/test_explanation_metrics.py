"""The metrics of benchmarks/explain.py, for explanations of known quality."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from benchmarks import explanation_metrics as metrics
from benchmarks.explanation_quality import mean_and_interval
from benchmarks.explanations import Explained, cached, lime, ours
from handler.explain.lime.explainer import Budget, painting
from handler.explain.lime.regions import skin_surface

SIDE = 56
LESION = (slice(7, 28), slice(7, 28))


@pytest.fixture
def picture() -> np.ndarray:
    image = np.full((SIDE, SIDE, 3), 200, np.uint8)
    image[LESION] = (90, 50, 40)
    return image


@pytest.fixture
def lesion() -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[LESION] = True
    return mask


def darkness(images: np.ndarray) -> np.ndarray:
    """A classifier whose probability of class 1 is the darkness of the lesion's rectangle."""
    dark = np.clip(1.1 - images[:, *LESION].mean(axis=(1, 2, 3)) / 200, 0.01, 0.99)
    return np.stack([1 - dark, dark], axis=1).astype(np.float32)


def explained(weights: list[float]) -> Explained:
    """Weights of the lesion's upper half, its lower half and the skin."""
    segments = np.full((SIDE, SIDE), 2)
    segments[7:17, 7:28], segments[17:28, 7:28] = 0, 1
    return Explained(np.array(weights), segments)


RIGHT, WRONG = explained([1, 0.9, -0.5]), explained([-1, -0.9, 0.5])


@pytest.mark.parametrize("remove", [metrics.blurred, skin_surface])
def test_the_right_explanation_has_better_deletion_and_insertion(
    picture: np.ndarray, remove: Callable[[np.ndarray], np.ndarray]
):
    removed = remove(picture)
    for_right = metrics.deletion_and_insertion(darkness, picture, removed, 1, RIGHT)
    for_wrong = metrics.deletion_and_insertion(darkness, picture, removed, 1, WRONG)
    assert for_right[0] < for_wrong[0] - 0.2 and for_right[1] > for_wrong[1] + 0.2
    assert all(0 <= value <= 1 for value in for_right + for_wrong)


def test_overlap_is_the_share_of_positive_weight_on_the_lesion(lesion: np.ndarray):
    assert metrics.overlap(RIGHT, lesion) == pytest.approx(1) and metrics.overlap(WRONG, lesion) == 0
    inside, outside = 21 * 21, SIDE**2 - 21 * 21
    assert metrics.overlap(explained([1, 1, 0.5]), lesion) == pytest.approx(inside / (inside + outside / 2))
    assert np.isnan(metrics.overlap(explained([-1, 0, -1]), lesion))


def test_jaccard_and_distance():
    assert metrics.jaccard(RIGHT, RIGHT) == 1 and metrics.jaccard(RIGHT, WRONG) == 0
    assert metrics.jaccard(RIGHT, explained([1, -1, 0])) == 0.5
    assert metrics.distance(RIGHT, RIGHT) == 0 and metrics.distance(WRONG, RIGHT) == pytest.approx(2)


def test_the_distance_to_the_converged_explanation_is_estimated_from_two():
    rng, truth = np.random.default_rng(0), np.array([1.0, -2.0, 0.5, 3.0])
    runs = [explained((truth + 0.1 * rng.standard_normal(4)).tolist()) for _ in range(400)]
    distances = [metrics.distance(run, explained(truth.tolist())) for run in runs]
    estimates = [metrics.distance_to_converged(*pair) for pair in zip(runs[::2], runs[1::2], strict=True)]
    assert np.mean(estimates) == pytest.approx(np.mean(distances), rel=0.1)


def test_a_mean_has_an_interval_and_leaves_out_what_is_missing():
    values = np.random.default_rng(1).normal(5, 1, 400)
    mean, low, high = mean_and_interval(pd.Series([*values, np.nan]))
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((mean - 1.96 / 20, mean + 1.96 / 20), abs=0.02)


def test_a_cached_sampler_gives_the_same_explanation_and_classifies_each_mask_once(picture: np.ndarray):
    classified: list[int] = []

    def counting(images: np.ndarray) -> np.ndarray:
        classified.append(len(images))
        return darkness(images)

    sampler = cached(painting(counting))
    first, again, plain = (ours(s, picture, 1, Budget(128, 2), 0) for s in (sampler, sampler, painting(darkness)))
    assert sum(classified) == 128 + 2, "the masks, the whole photograph and the hidden one"
    assert (first.weights == again.weights).all() and (first.weights == plain.weights).all()


def test_both_explainers_find_the_lesion(picture: np.ndarray, lesion: np.ndarray):
    for result in (lime(darkness, picture, 1, 0), ours(painting(darkness), picture, 1, Budget(256, 0.9), 0)):
        assert metrics.overlap(result, lesion) > 0.6


def test_random_weights_replace_all_those_of_a_copy():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    before = [parameter.clone() for parameter in network.parameters()]
    randomised = metrics.with_random_weights(network)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(before, randomised.parameters(), strict=True))
