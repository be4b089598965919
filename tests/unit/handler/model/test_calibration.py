"""Another bias of rare classes than the model's own, and plausible diagnoses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from api.classes import CLASSES
from handler.engines.classifier import Classifier
from handler.model.calibration import BIAS_VARIABLE, BiasError, BiasSetting, chosen_bias, plausible
from handler.model.checkpoint import Checkpoint

OWN_BIAS, OWN_TEMPERATURE = np.array([0.7, 0.6, 0.4, 0.9, 0.4, 0.1, 0.9]), 0.74
BIAS, TEMPERATURE = OWN_BIAS * 3, 0.9


def setting(strength: float = 0.6, own_bias=OWN_BIAS, own_temperature: float = OWN_TEMPERATURE) -> BiasSetting:
    offsets = (BIAS - own_bias) / TEMPERATURE
    return BiasSetting(strength, own_temperature / TEMPERATURE, dict(zip(CLASSES, offsets.tolist(), strict=True)), 0.1)


def test_probabilities_become_those_of_the_other_bias_and_temperature():
    logits = np.random.default_rng(0).normal(0, 3, (50, 7))
    own = softmax((logits + OWN_BIAS) / OWN_TEMPERATURE, axis=1).astype(np.float32)
    moved = setting().apply(own, list(CLASSES))
    assert moved.dtype == np.float32 and (moved.argmax(1) != own.argmax(1)).any()
    np.testing.assert_allclose(moved, softmax((logits + BIAS) / TEMPERATURE, axis=1), rtol=1e-4, atol=1e-7)


def test_extreme_probabilities_stay_finite_and_a_fault_stays_one():
    certain = np.eye(7, dtype=np.float32)
    moved = setting().apply(certain, list(CLASSES))
    assert np.isfinite(moved).all() and moved.argmax(1).tolist() == list(range(7))
    assert np.isnan(setting().apply(np.full((1, 7), np.nan, np.float32), list(CLASSES))).all()


def test_a_classifier_answers_and_samples_with_it(untrained: Checkpoint, squares: np.ndarray):
    own_bias = np.array(untrained.bias)
    other = replace(untrained, bias=BIAS.tolist(), temperature=TEMPERATURE)
    moved = Classifier(untrained, arithmetic="float32", bias=setting(0.6, own_bias, untrained.temperature))
    expected = Classifier(other, arithmetic="float32")
    for ours, theirs in zip(moved.assess(squares), expected.assess(squares), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(
        moved.sample_probabilities(squares), expected.sample_probabilities(squares), rtol=1e-3, atol=1e-5
    )
    segments = np.zeros((224, 224), int)
    segments[:, 112:] = 1
    masks = np.array([[True, False], [True, True]])
    drawn = [c.sampler(squares[0], squares[1], segments)(masks) for c in (moved, expected)]
    np.testing.assert_allclose(*drawn, rtol=1e-3, atol=1e-5)


def test_the_environment_chooses_a_point_of_the_curve(monkeypatch: pytest.MonkeyPatch):
    curve = [setting(s) for s in (0.0, 0.3, 0.6)]
    monkeypatch.delenv(BIAS_VARIABLE, raising=False)
    assert chosen_bias(curve) is None and chosen_bias([]) is None
    monkeypatch.setenv(BIAS_VARIABLE, "0.30")
    assert chosen_bias(curve) is curve[1]
    with pytest.raises(BiasError, match="MLBIO_BIAS_STRENGTH is set, and this model has no trade-off curve"):
        chosen_bias([])
    for text in ("0.31", "strong"):
        monkeypatch.setenv(BIAS_VARIABLE, text)
        with pytest.raises(BiasError, match=f"MLBIO_BIAS_STRENGTH is '{text}': it must be one of 0, 0.3, 0.6, or not"):
            chosen_bias(curve)


def test_plausible_diagnoses_reach_the_threshold_or_are_the_most_probable():
    rows = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.3, 0.46, 0.24]])
    assert plausible(rows, 0.25).tolist() == [[True, True, False], [False, True, False], [True, True, False]]
    assert plausible(rows[2], 0.9).tolist() == [False, True, False]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_threshold_is_not_rounded(dtype: type):
    rows = np.array([0.9, 0.1], dtype)
    exact = float(rows[1])
    assert plausible(rows, exact)[1] and not plausible(rows, float(np.nextafter(exact, 1)))[1]
