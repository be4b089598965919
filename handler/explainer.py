"""LIME for photographs: which regions speak for a diagnosis, and how far to trust that.

Ribeiro, Singh, Guestrin: "'Why Should I Trust You?': Explaining the Predictions of Any Classifier", KDD 2016. The lime
package defines the explanation (kernel, ridge regression, ``ImageExplanation``). What is ours: the masks are designed
(:mod:`handler.masks`), perturbed photographs are made and classified in batches, one regression serves all classes
(:mod:`handler.surrogate`), which is of log-odds, and sampling stops when the ranking of the regions has settled.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from lime.lime_image import ImageExplanation

from handler.masks import blocks
from handler.regions import outline, paint, regions_of, surrounding_colour
from handler.surrogate import Fit, fit, log_odds


@dataclass(frozen=True)
class Precision:
    """What is asked of an explanation: ``samples`` at most, fewer once the ``stability`` is reached."""

    samples: int
    stability: float


PRECISIONS = {
    "Faible": Precision(512, 0.90),
    "Moyenne": Precision(1024, 0.95),
    "Importante": Precision(4096, 0.99),
}

BATCH = 32
LEAST_SAMPLES = 128
"""Before so many, errors are not known well enough to stop."""

DESIGN_EFFECT = 0.5
"""Variance of the weights relative to independent pairs of masks (Kish, "Survey Sampling", 1965).

On ten validation photographs it was 0.84, 0.71 and 0.17 with 128, 256 and 512 masks: designed ones know more.
"""

SHOWN_REGIONS = 5
SHOWN_SHARE = 0.1
"""A region is outlined if it is among the five strongest and at least a tenth as strong as the strongest."""

Probabilities = Callable[[np.ndarray], np.ndarray]
"""``uint8`` (N, H, W, 3) in, (N, classes) out."""

Progress = Callable[[float], None]
"""Told the share of the samples done, from 0 to 1; what it raises ends the explanation."""


@dataclass(frozen=True)
class Explanation:
    """Why one class: lime's own result, the picture of it, and figures.

    Attributes:
        lime: lime's ``ImageExplanation`` with all classes; its ``get_image_and_mask`` works.
        label: index of the explained class.
        overlay: ``uint8`` (H, W, 3), the photograph with the regions that speak for the class outlined in green.
        weights: (regions,), what showing a region adds to the class's log-odds.
        standard_errors: (regions,), of the weights, from the sampling alone.
        samples: perturbed photographs that were classified.
        seconds: time taken.
        r2: of the weighted local regression.
        stability: expected Jaccard index of the five strongest regions with those of another set of masks.
        target: the stability asked for.
        stopped: why sampling ended: ``"settled"``, ``"budget"`` or ``"deadline"``.
    """

    lime: ImageExplanation
    label: int
    overlay: np.ndarray
    weights: np.ndarray
    standard_errors: np.ndarray
    samples: int
    seconds: float
    r2: float
    stability: float
    target: float
    stopped: str


class Explainer:
    """Explains the classes that ``probabilities`` gives to squares of pixels."""

    def __init__(self, probabilities: Probabilities) -> None:
        self.probabilities = probabilities

    def explain(
        self,
        square: np.ndarray,
        label: int,
        precision: Precision = PRECISIONS["Moyenne"],
        progress: Progress | None = None,
        seconds: float | None = None,
        seed: int | None = None,
    ) -> Explanation:
        """Explain class ``label`` of ``square``, ``uint8`` (H, W, 3).

        The same square and precision give the same explanation, unless the time limit of ``seconds`` ended it: then it
        is the best so far. ``seed`` draws other masks than the square's own.
        """
        started = time.perf_counter()
        segments, hidden = regions_of(square), surrounding_colour(square)
        rng = np.random.default_rng(_seed(square) if seed is None else seed)
        masks: list[np.ndarray] = []
        outcomes: list[np.ndarray] = []
        done, due, stopped = 0, LEAST_SAMPLES, "budget"
        result, stability = None, 0.0
        for batch, answers in self._sampled(square, hidden, segments, rng, precision.samples):
            masks.append(batch)
            outcomes.append(log_odds(answers))
            done += len(batch)
            if progress:
                progress(done / precision.samples)
            late = seconds is not None and time.perf_counter() - started > seconds
            if late or done >= min(due, precision.samples):
                result = fit(np.concatenate(masks), np.concatenate(outcomes), DESIGN_EFFECT)
                due, stability = _next_check(due), result.stability(label)
                if stability >= precision.stability:
                    stopped = "settled"
                    break
                if late:
                    stopped = "deadline"
                    break
        explanation = as_lime(square, segments, result, label)
        return Explanation(
            lime=explanation,
            label=label,
            overlay=outline(square, supporting_regions(explanation, label)),
            weights=result.weights[label],
            standard_errors=result.standard_errors(label),
            samples=done,
            seconds=time.perf_counter() - started,
            r2=float(result.r2[label]),
            stability=stability,
            target=precision.stability,
            stopped=stopped,
        )

    def _sampled(self, square, hidden, segments, rng, samples) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Batches of masks and what the classifier says of them; the next is painted while one is classified."""
        batches = _batches(int(segments.max()) + 1, rng, samples)
        with ThreadPoolExecutor(1) as painter:

            def begin():
                batch = next(batches, None)
                return batch, None if batch is None else painter.submit(paint, square, hidden, segments, batch)

            batch, painted = begin()
            while batch is not None:
                following = begin()
                yield batch, self.probabilities(painted.result())
                batch, painted = following


def supporting_regions(result: ImageExplanation, label: int) -> np.ndarray:
    """Boolean (H, W): the strongest regions that speak for ``label``; all False where none does."""
    strongest = max((weight for _, weight in result.local_exp[label]), default=0.0)
    if strongest <= 0:
        return np.zeros(result.segments.shape, bool)
    _, mask = result.get_image_and_mask(label, num_features=SHOWN_REGIONS, min_weight=SHOWN_SHARE * strongest)
    return mask.astype(bool)


def as_lime(square: np.ndarray, segments: np.ndarray, result: Fit, label: int) -> ImageExplanation:
    """lime's own type, filled as its ``explain_instance`` does, for all classes; ``label`` comes first."""
    explanation = ImageExplanation(square, segments)
    order = [label, *(c for c in range(len(result.weights)) if c != label)]
    explanation.top_labels = order
    for c in order:
        explanation.intercept[c] = float(result.intercepts[c])
        ranked = np.argsort(-np.abs(result.weights[c]), kind="stable")
        explanation.local_exp[c] = [(int(r), float(result.weights[c][r])) for r in ranked]
    explanation.score = float(result.r2[label])
    explanation.local_pred = result.whole[label : label + 1]
    return explanation


def _batches(regions: int, rng: np.random.Generator, samples: int) -> Iterator[np.ndarray]:
    for block, done in zip(blocks(regions, rng, BATCH), range(0, samples, BATCH), strict=False):
        yield block[: samples - done]


def _next_check(due: int) -> int:
    """128, 192, 256, 384, 512 …: where the masks so far are whole designs."""
    return due * 3 // 2 if due & (due - 1) == 0 else due * 4 // 3


def _seed(square: np.ndarray) -> int:
    return int.from_bytes(hashlib.sha256(np.ascontiguousarray(square)).digest()[:8], "big")
