"""LIME for photographs: which regions speak for a diagnosis.

Ribeiro, Singh, Guestrin: "'Why Should I Trust You?': Explaining the Predictions of Any Classifier", KDD 2016. The lime
package defines the explanation (kernel, ridge regression, ``ImageExplanation``); what is ours is how the perturbed
photographs are made: one table look-up per batch in place of its loop over samples and superpixels.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from lime.lime_image import ImageExplanation, LimeImageExplainer
from skimage.segmentation import find_boundaries, slic

SAMPLES = {"Faible": 256, "Moyenne": 1024, "Importante": 4096}
"""Perturbed photographs per explanation, by precision."""

SUPERPIXELS = 50
BATCH = 32
SHOWN_REGIONS = 5
SHOWN_SHARE = 0.1
"""A region is outlined if it is among the five strongest and at least a tenth as strong as the strongest."""

GREEN = (0, 255, 0)

Probabilities = Callable[[np.ndarray], np.ndarray]
"""``uint8`` (N, H, W, 3) in, (N, classes) out."""


class BatchedLimeImageExplainer(LimeImageExplainer):
    """lime's explainer with its perturbations made batch by batch.

    Masks come in pairs, each with its opposite (antithetic sampling), which cancels part of the sampling noise.
    """

    def data_labels(self, image, fudged_image, segments, classifier_fn, num_samples, batch_size=BATCH):
        """As in lime: ``(data, labels)`` with shapes (num_samples, superpixels) and (num_samples, classes).

        The first row of ``data`` is the photograph itself.
        """
        data = self._masks(num_samples, int(segments.max()) + 1)
        labels = []
        for start in range(0, num_samples, batch_size):
            shown = data[start : start + batch_size].astype(bool)[:, segments]
            labels.append(classifier_fn(np.where(shown[..., None], image, fudged_image)))
        return data, np.concatenate(labels)

    def _masks(self, num_samples: int, superpixels: int) -> np.ndarray:
        half = self.random_state.randint(0, 2, ((num_samples + 1) // 2, superpixels))
        half[0] = 1
        return np.stack([half, 1 - half], axis=1).reshape(-1, superpixels)[:num_samples]


@dataclass(frozen=True)
class Explanation:
    """Why one class: lime's own result, the picture of it, and figures.

    Attributes:
        lime: lime's ``ImageExplanation``; its ``get_image_and_mask`` works.
        label: index of the explained class.
        overlay: ``uint8`` (H, W, 3), the photograph with the regions that speak for the class outlined in green.
        samples: perturbed photographs that were classified.
        seconds: time taken.
    """

    lime: ImageExplanation
    label: int
    overlay: np.ndarray
    samples: int
    seconds: float

    @property
    def fit(self) -> float:
        """R² of the weighted local regression."""
        return float(self.lime.score)


class Explainer:
    """Explains the classes that ``probabilities`` gives to squares of pixels."""

    def __init__(self, probabilities: Probabilities) -> None:
        self.probabilities = probabilities

    def explain(self, square: np.ndarray, label: int, samples: int = SAMPLES["Moyenne"]) -> Explanation:
        """Explain class ``label`` of ``square``, ``uint8`` (H, W, 3). The same input gives the same result."""
        started = time.perf_counter()
        seed = int.from_bytes(hashlib.sha256(np.ascontiguousarray(square)).digest()[:4], "big")
        result = BatchedLimeImageExplainer(random_state=seed).explain_instance(
            square,
            self.probabilities,
            labels=(label,),
            top_labels=None,
            hide_color=surrounding_colour(square),
            num_samples=samples,
            batch_size=BATCH,
            segmentation_fn=superpixels,
            random_seed=seed,
        )
        overlay = outline(square, supporting_regions(result, label))
        return Explanation(result, label, overlay, samples, time.perf_counter() - started)


def superpixels(square: np.ndarray) -> np.ndarray:
    """About :data:`SUPERPIXELS` regions that follow colour edges, numbered from 0 (SLIC, Achanta et al., PAMI 2012)."""
    segments = slic(square, n_segments=SUPERPIXELS, compactness=10, start_label=0)
    return np.unique(segments, return_inverse=True)[1].reshape(segments.shape)


def surrounding_colour(square: np.ndarray) -> np.ndarray:
    """Median colour of the outer tenth of the square, mostly skin: what hidden regions are painted with."""
    border = max(1, min(square.shape[:2]) // 10)
    inside = np.zeros(square.shape[:2], bool)
    inside[border:-border, border:-border] = True
    outer = square[~inside] if inside.any() else square.reshape(-1, 3)
    return np.median(outer, axis=0).astype(np.uint8)


def supporting_regions(result: ImageExplanation, label: int) -> np.ndarray:
    """Boolean (H, W): the strongest regions that speak for ``label``; all False where none does."""
    strongest = max((weight for _, weight in result.local_exp[label]), default=0.0)
    if strongest <= 0:
        return np.zeros(result.segments.shape, bool)
    _, mask = result.get_image_and_mask(label, num_features=SHOWN_REGIONS, min_weight=SHOWN_SHARE * strongest)
    return mask.astype(bool)


def outline(square: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """``square`` with the border of ``mask`` in green, two pixels wide. The frame of the picture counts as outside."""
    framed = np.pad(mask, 1)
    border = find_boundaries(framed, mode="thick")[1:-1, 1:-1]
    return np.where(border[..., None], np.array(GREEN, np.uint8), square)
