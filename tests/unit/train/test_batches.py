"""Which images an epoch samples, by class and source, and how its batches are prepared in the background."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from train.augment import Augmentation
from train.batches import TrainingSet, augmented_batches, class_weights, prefetch, sample_indices
from train.recipe import SEVERAL_SOURCES, Recipe


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("count", [1, 99, 100, 1000])
def test_classes_are_sampled_by_a_power_of_their_frequency(power, count):
    labels = np.repeat(np.arange(7), [1, 2, 3, 5, 8, 13, 68])
    expected = np.bincount(labels) ** (1 - power) / (np.bincount(labels) ** (1 - power)).sum() * count
    counts = []
    for seed in range(20):
        indices = sample_indices(class_weights(labels, power), count, np.random.default_rng(seed))
        assert len(indices) == count
        counts.append(np.bincount(labels[indices], minlength=7))
        assert (indices == sample_indices(class_weights(labels, power), count, np.random.default_rng(seed))).all()
    np.testing.assert_allclose(np.mean(counts, axis=0), expected, atol=1 + 0.05 * count)
    if power == 0 and count == len(labels):
        assert sorted(indices) == list(range(100)), "none is left out"


@pytest.mark.parametrize("count", [3, 50, 1000])
def test_what_has_no_weight_is_never_sampled(count):
    weights = np.arange(100) % 2 * 0.7
    for seed in range(20):
        indices = sample_indices(weights, count, np.random.default_rng(seed))
        assert len(indices) == count and (indices % 2 == 1).all()


# Several sources


HAM10000, BCN, MILK10K = range(3)


def several_sources() -> TrainingSet:
    """60 photographs of HAM10000, 90 of bcn with 84 pixels, 40 of milk10k with 256, each of classes 0 and 5."""
    counts = {(HAM10000, 0): 10, (HAM10000, 5): 50, (BCN, 0): 30, (BCN, 5): 60, (MILK10K, 0): 36, (MILK10K, 5): 4}
    sources, labels = np.repeat(np.array(list(counts)), list(counts.values()), axis=0).T
    return TrainingSet(torch.zeros(len(labels), 1), labels, sources, np.array([450, 84, 256])[sources])


def totals(training_set: TrainingSet, weights: np.ndarray) -> list[float]:
    return np.bincount(training_set.sources, weights, minlength=3).tolist()


def test_a_single_source_is_sampled_by_class_alone():
    labels = np.repeat(np.arange(7), [1, 2, 3, 5, 8, 13, 68])
    training_set = TrainingSet(torch.zeros(100, 1), labels, np.zeros(100, int), np.full(100, 8))
    np.testing.assert_array_equal(training_set.weights(224, Recipe()), class_weights(labels, Recipe().sampling_power))


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_each_source_has_its_share_of_the_views(power):
    training_set = several_sources()
    recipe = replace(SEVERAL_SOURCES, ham10000_share=0.6, source_power=power)
    expected = [0.6, *(0.4 * np.array([90.0, 40.0]) ** power / (90.0**power + 40.0**power))]
    np.testing.assert_allclose(totals(training_set, training_set.weights(112, recipe)), expected)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_classes_are_balanced_within_each_source(power):
    """By the images that a class has in all sources: 76 and 114."""
    training_set = several_sources()
    weights = training_set.weights(112, replace(SEVERAL_SOURCES, sampling_power=power))
    for source in (HAM10000, BCN, MILK10K):
        rare, frequent = (
            set(weights[(training_set.sources == source) & (training_set.labels == label)]) for label in (0, 5)
        )
        assert len(rare) == len(frequent) == 1
        assert rare.pop() / frequent.pop() == pytest.approx((114 / 76) ** power)


def test_photographs_that_are_small_next_to_the_views_take_no_part():
    training_set = several_sources()
    recipe = replace(SEVERAL_SOURCES, least_side=0.75)
    assert training_set.weights(112, recipe).all(), "84 pixels are 0.75 of 112"
    weights = training_set.weights(113, recipe)
    assert (weights == 0).tolist() == (training_set.sources == BCN).tolist()
    np.testing.assert_allclose(totals(training_set, weights), [0.5, 0, 0.5])
    rare, frequent = (weights[(training_set.sources == HAM10000) & (training_set.labels == label)] for label in (0, 5))
    assert rare[0] / frequent[0] == pytest.approx((54 / 46) ** 0.5), "nor do they count as images of their class"


def test_without_large_enough_photographs_of_other_sources_all_are_ham10000s():
    training_set = several_sources()
    np.testing.assert_allclose(totals(training_set, training_set.weights(400, SEVERAL_SOURCES)), [1, 0, 0])


def batches_of(labels: np.ndarray, indices: np.ndarray):
    pixels = np.random.default_rng(2).integers(0, 256, (len(labels), 48, 48, 3), dtype=np.uint8)
    return augmented_batches(torch.from_numpy(pixels), labels, indices, 16, Augmentation(), np.random.default_rng(0))


def test_batches_come_in_order_and_whole():
    labels, indices = np.arange(20) % 7, np.random.default_rng(0).permutation(20).reshape(5, 4)
    made = list(batches_of(labels, indices))
    assert [tuple(batch.views.shape) for batch in made] == [(4, 3, 16, 16)] * 5
    assert torch.stack([batch.labels for batch in made]).tolist() == labels[indices].tolist()
    targets = torch.stack([batch.targets for batch in made])
    assert targets.shape == (5, 4, 7)
    torch.testing.assert_close(targets.sum(2), torch.ones(5, 4))


def test_an_error_after_some_items_is_raised_after_them():
    def items():
        yield 1
        raise ValueError("a fault")

    received = prefetch(items())
    assert next(received) == 1
    with pytest.raises(ValueError, match="a fault"):
        next(received)


def test_leaving_the_training_loop_ends_the_background_thread():
    before = threading.active_count()
    made = batches_of(np.zeros(4, int), np.arange(4).repeat(50).reshape(100, 2))
    next(made)
    assert threading.active_count() == before + 1
    made.close()
    assert threading.active_count() == before


def test_items_are_computed_in_advance_but_not_without_limit():
    computed = []

    def items():
        for i in range(100):
            computed.append(i)
            yield i

    received = prefetch(items(), ahead=2)
    assert next(received) == 0
    deadline = time.monotonic() + 10
    while len(computed) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert computed == [0, 1, 2]
    received.close()
