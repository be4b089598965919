"""Which images an epoch samples, and how its batches are prepared in the background."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch

from train import batches
from train.augment import Augmentation
from train.batches import augmented_batches, in_background, sample_indices


def test_rare_classes_are_oversampled():
    labels = np.repeat(np.arange(7), [20, 30, 60, 10, 70, 400, 10])
    indices = sample_indices(labels, 640, 0.5, np.random.default_rng(0))
    assert len(indices) == 640
    sampled = np.bincount(labels[indices], minlength=7)
    expected = np.sqrt(np.bincount(labels)) / np.sqrt(np.bincount(labels)).sum() * 640
    assert np.abs(sampled - expected).max() < 0.25 * expected.max()
    share = sampled / np.bincount(labels)
    assert share[3] > 2 * share[4] > 2 * share[5]


@pytest.mark.parametrize("power, expected", [(0.0, [20, 80]), (1.0, [50, 50])])
def test_power_0_keeps_the_frequencies_and_1_balances_the_classes(power, expected):
    labels = np.repeat([0, 1], [20, 80])
    indices = sample_indices(labels, 100, power, np.random.default_rng(0))
    np.testing.assert_allclose(np.bincount(labels[indices]), expected, atol=1 if power == 0 else 12)
    if power == 0:
        assert sorted(indices) == list(range(100))


@pytest.mark.parametrize("count", [1, 8, 99, 100, 101, 1000])
def test_exactly_as_many_indices_are_sampled_as_asked(count):
    labels = np.repeat(np.arange(7), [1, 2, 3, 5, 8, 13, 68])
    for seed in range(20):
        indices = sample_indices(labels, count, 0.5, np.random.default_rng(seed))
        assert len(indices) == count and indices.min() >= 0 and indices.max() < 100
        assert (indices == sample_indices(labels, count, 0.5, np.random.default_rng(seed))).all()


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


def test_an_error_while_augmenting_reaches_the_training_loop(monkeypatch):
    def fail(*_):
        raise ValueError("a fault")

    monkeypatch.setattr(batches, "random_views", fail)
    with pytest.raises(ValueError, match="a fault"):
        list(batches_of(np.zeros(4, int), np.zeros((2, 2), int)))


def test_an_error_after_some_items_is_raised_after_them():
    def items():
        yield 1
        raise ValueError("a fault")

    received = in_background(items())
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

    received = in_background(items(), ahead=2)
    assert next(received) == 0
    deadline = time.monotonic() + 10
    while len(computed) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert computed == [0, 1, 2]
    received.close()
