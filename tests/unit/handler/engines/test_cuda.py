"""The engine for GPUs, on the CPU: its arithmetic, its padding and its painting. Recording needs a GPU (test_model)."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from handler.engines import cuda
from handler.engines.classifier import Classifier
from handler.engines.cuda import Cuda
from handler.explain.lime.regions import paint, regions_of, skin_surface
from handler.model.checkpoint import Checkpoint
from handler.model.inference import PixelsToProbabilities


@pytest.fixture(scope="module")
def engine(untrained: Checkpoint) -> Cuda:
    return Cuda(untrained, "cpu")


@pytest.fixture(scope="module")
def expected(untrained: Checkpoint, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with torch.inference_mode():
        probabilities, novelty = PixelsToProbabilities(untrained).eval()(torch.from_numpy(squares))
    return probabilities.numpy(), novelty.numpy()


def test_answers_are_those_of_torch(engine: Cuda, squares: np.ndarray, expected: tuple[np.ndarray, np.ndarray]):
    probabilities, novelty = engine.answers(squares)
    assert probabilities.dtype == novelty.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected[0], atol=1e-5)
    np.testing.assert_allclose(novelty, expected[1], rtol=1e-4)


def test_samples_are_close(engine: Cuda, squares: np.ndarray, expected: tuple[np.ndarray, np.ndarray]):
    probabilities, novelty = engine.samples(squares)
    assert np.ptp(expected[0], axis=0).max() > 0.1  # else closeness would not mean much
    assert 0 < np.abs(probabilities - expected[0]).max() < 0.01
    np.testing.assert_allclose(novelty, expected[1], rtol=0.01)


def test_a_batch_of_any_size_is_padded_or_split(engine: Cuda, squares: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    """What a longer batch left behind it is not looked at."""
    monkeypatch.setattr(cuda, "SIZES", (1, 4))
    seven = np.concatenate([squares, squares[:3]])
    whole = engine.answers(seven)[0]
    np.testing.assert_allclose(whole[:4], whole[[4, 5, 6, 3]], atol=1e-5)
    for size in (1, 2, 3):
        np.testing.assert_allclose(engine.answers(seven[-size:])[0], whole[-size:], atol=1e-5)


def test_it_paints_as_we_do(engine: Cuda, squares: np.ndarray):
    square, segments = squares[0], regions_of(squares[0])
    hidden = skin_surface(square)
    masks = np.random.default_rng(0).random((3, segments.max() + 1)) < 0.5
    painted = engine.samples(paint(square, hidden, segments, masks))[0]
    np.testing.assert_allclose(engine.sampler(square, hidden, segments)(masks), painted, atol=1e-6)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
def test_a_gpu_that_torch_cannot_use_is_said(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        assert not cuda.usable("cuda:0")
    assert "torch cannot use cuda:0, so the CPU answers: " in caplog.text and "\n" not in caplog.messages[0]


def test_a_classifier_knows_how_much_its_engine_takes_at_once(untrained: Checkpoint):
    assert (Classifier(untrained).batch, Cuda.batch) == (32, 128)
