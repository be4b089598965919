"""The diagnoses that cannot be excluded: sets of split conformal prediction.

A set holds the classes whose probability reaches a threshold (the least ambiguous set-valued classifier, LAC: Sadinle,
Lei and Wasserman, JASA 2019), and always the most probable class. :func:`train.calibrate.fit_plausible_threshold` fits
the threshold.
"""

from __future__ import annotations

import numpy as np

COVERAGE = 0.90
"""Share of the photographs whose set holds the true diagnosis, which the threshold is fitted to reach."""


def plausible(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """Whether each class is in the set of its photograph, boolean, of the shape of ``probabilities`` (..., classes)."""
    # numpy would round the threshold to float32 for the comparison.
    exact = probabilities.astype(np.float64)
    return (exact >= threshold) | (exact == exact.max(axis=-1, keepdims=True))
