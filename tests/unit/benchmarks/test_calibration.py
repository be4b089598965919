"""The calibration benchmark, on a classifier whose reasons are known."""

from __future__ import annotations

import numpy as np
import pytest

from handler.explain.lime.explainer import painting

calibration = pytest.importorskip("benchmarks.calibration", reason="Quantus cannot be imported", exc_type=ImportError)


def test_a_linear_classifier_has_no_sampling_error():
    square = np.full((64, 64, 3), 200, np.uint8)
    square[10:40, 10:40] = (90, 50, 40)

    def probabilities(images: np.ndarray) -> np.ndarray:
        odds = 2 - images[:, 10:40, 10:40].mean(axis=(1, 2, 3)) / 50
        dark = 1 / (1 + np.exp(-odds))
        return np.stack([1 - dark, dark], axis=1).astype(np.float32)

    class Stub:
        sampler = staticmethod(painting(probabilities))

    Stub.probabilities = staticmethod(probabilities)
    pairs = calibration.compare(Stub(), square, 0)
    assert [pair.masks for pair in pairs] == list(calibration.SIZES)
    assert all(pair.found == 1 and pair.estimated > 0.95 and pair.ours.r2_with_pairs > 0.99 for pair in pairs)
