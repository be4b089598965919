"""LIME for photographs: the regions that support a diagnosis, with an estimate of the explanation's stability.

Ribeiro, Singh, Guestrin: "'Why Should I Trust You?': Explaining the Predictions of Any Classifier", KDD 2016. Kernel,
ridge regression and ``ImageExplanation`` are those of the lime package. It differs in four ways: masks come from a
factorial design (:mod:`handler.masks`), perturbed photographs are painted and classified in batches, a single
regression of log-odds serves all classes (:mod:`handler.surrogate`), and sampling stops once the ranking of the regions
is stable.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from lime.lime_image import ImageExplanation

from api.contract import StopReason
from handler.masks import blocks
from handler.regions import outline, paint, regions_of, surrounding_colour
from handler.surrogate import Fit, fit, log_odds


@dataclass(frozen=True)
class Precision:
    """A precision of the contract.

    Attributes:
        samples: largest number of perturbed photographs.
        stability: expected Jaccard index (:meth:`handler.surrogate.Fit.stability`) at which sampling stops.
    """

    samples: int
    stability: float


PRECISIONS = {
    "Faible": Precision(512, 0.90),
    "Moyenne": Precision(1024, 0.95),
    "Importante": Precision(4096, 0.99),
}

BATCH = 32
MIN_SAMPLES = 128
"""With fewer, the standard errors are too uncertain to stop."""

DESIGN_EFFECT = 0.5
"""Variance of the weights relative to independent pairs of masks (Kish, "Survey Sampling", 1965).

Measured on ten validation photographs with 128, 256 and 512 masks: 0.84, 0.71 and 0.17.
"""

MAX_OUTLINED = 5
MIN_RELATIVE_WEIGHT = 0.1
"""A region is outlined if it is among the five strongest and has at least a tenth of the greatest weight."""

Probabilities = Callable[[np.ndarray], np.ndarray]
"""``uint8`` (N, H, W, 3) in, (N, classes) out."""

Progress = Callable[[float], None]
"""Called with the finished share of the samples, 0 to 1. An exception that it raises ends the explanation."""


@dataclass(frozen=True)
class Explanation:
    """The explanation of one class.

    Attributes:
        lime: the lime package's own result, for all classes.
        label: index of the explained class.
        overlay: ``uint8`` (H, W, 3), the photograph with the regions that support the class outlined in green.
        weights: (regions,), the increase of the class's log-odds when a region is shown.
        standard_errors: (regions,), of the weights, due to sampling.
        samples: perturbed photographs that were classified.
        seconds: wall-clock time.
        r2: weighted coefficient of determination of the local model.
        stability: see :meth:`handler.surrogate.Fit.stability`.
        target: the precision's stability.
        stopped: why sampling ended.
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
    stopped: StopReason


class Explainer:
    """Explains the output of a classifier, ``probabilities``."""

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
        """Explain a class of a photograph.

        The same photograph and precision give the same explanation, unless the time limit ends it.

        Args:
            square: ``uint8`` (H, W, 3).
            label: index of the class.
            precision: one of :data:`PRECISIONS`.
            progress: called after each batch.
            seconds: time limit; the explanation is then the best so far.
            seed: of the masks; derived from the photograph unless given.
        """
        started = time.perf_counter()
        segments, hidden = regions_of(square), surrounding_colour(square)
        rng = np.random.default_rng(_seed(square) if seed is None else seed)
        masks: list[np.ndarray] = []
        outcomes: list[np.ndarray] = []
        done, next_check = 0, MIN_SAMPLES
        for batch, probabilities in self._sample(square, hidden, segments, rng, precision.samples):
            masks.append(batch)
            outcomes.append(log_odds(probabilities))
            done += len(batch)
            if progress:
                progress(done / precision.samples)
            late = seconds is not None and time.perf_counter() - started > seconds
            if not late and done < min(next_check, precision.samples):
                continue
            next_check = _next_check(next_check)
            model = fit(np.concatenate(masks), np.concatenate(outcomes), DESIGN_EFFECT)
            stability = model.stability(label)
            if late or stability >= precision.stability:
                break
        stopped: StopReason = "settled" if stability >= precision.stability else "deadline" if late else "budget"
        explanation = as_lime(square, segments, model, label)
        return Explanation(
            lime=explanation,
            label=label,
            overlay=outline(square, supporting_regions(explanation, label)),
            weights=model.weights[label],
            standard_errors=model.standard_errors(label),
            samples=done,
            seconds=time.perf_counter() - started,
            r2=float(model.r2[label]),
            stability=stability,
            target=precision.stability,
            stopped=stopped,
        )

    def _sample(
        self, square: np.ndarray, hidden: np.ndarray, segments: np.ndarray, rng: np.random.Generator, samples: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Batches of masks and their probabilities; the next batch is painted while one is classified."""
        batches = _batches(int(segments.max()) + 1, rng, samples)
        with ThreadPoolExecutor(1) as painter:

            def paint_next() -> tuple[np.ndarray, Future[np.ndarray]] | None:
                batch = next(batches, None)
                return None if batch is None else (batch, painter.submit(paint, square, hidden, segments, batch))

            following = paint_next()
            while following is not None:
                batch, painted = following
                following = paint_next()
                yield batch, self.probabilities(painted.result())


def supporting_regions(result: ImageExplanation, label: int) -> np.ndarray:
    """Boolean (H, W): the strongest regions that support class ``label``; all False where none does."""
    strongest = max((weight for _, weight in result.local_exp[label]), default=0.0)
    if strongest <= 0:
        return np.zeros(result.segments.shape, bool)
    _, mask = result.get_image_and_mask(label, num_features=MAX_OUTLINED, min_weight=MIN_RELATIVE_WEIGHT * strongest)
    return mask.astype(bool)


def as_lime(square: np.ndarray, segments: np.ndarray, result: Fit, label: int) -> ImageExplanation:
    """The lime package's result type with all classes, ``label`` first, filled as its ``explain_instance`` does."""
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
    """The number of samples after ``due`` at which they are whole designs: 128, 192, 256, 384, 512 …"""
    return due * 3 // 2 if due & (due - 1) == 0 else due * 4 // 3


def _seed(square: np.ndarray) -> int:
    return int.from_bytes(hashlib.sha256(square.tobytes()).digest()[:8], "big")
