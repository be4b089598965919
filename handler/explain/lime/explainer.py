"""LIME for photographs: the regions that support a diagnosis, with an estimate of the explanation's stability.

Ribeiro, Singh, Guestrin: "'Why Should I Trust You?': Explaining the Predictions of Any Classifier", KDD 2016. Kernel
and ``ImageExplanation`` are those of the lime package. It differs in four ways: masks come from a factorial design that
is laid out for the photograph's regions (``masks``), perturbed photographs are painted and classified in batches, a
single regression of log-odds serves all classes (``surrogate``) and is complemented by interactions of regions
(``interactions``), and sampling stops once the ranking of the regions is stable.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from lime.lime_image import ImageExplanation

from api.answer import StopReason
from handler.engines.classifier import Sampler
from handler.explain.lime.interactions import Interactions, fit_interactions
from handler.explain.lime.masks import blocks, confounding
from handler.explain.lime.regions import closeness, outline, paint, regions_of, skin_surface
from handler.explain.lime.surrogate import Fit, fit, log_odds

MIN_SAMPLES = 128
"""With fewer, the standard errors are too uncertain to stop."""

PAIRS_SAMPLES = 512
"""With so many, the masks tell nine in ten pairs of regions apart; with twice as many, all (18 regions)."""


@dataclass(frozen=True)
class Precision:
    """A precision of the contract.

    Attributes:
        samples: largest number of perturbed photographs.
        stability: expected Jaccard index (``surrogate.Fit.stability``) at which sampling stops.
        least: number of samples before which it does not, of those that :func:`_next_check` gives.
    """

    samples: int
    stability: float
    least: int = MIN_SAMPLES


PRECISIONS = {
    "Faible": Precision(512, 0.90),
    "Moyenne": Precision(1024, 0.95, least=PAIRS_SAMPLES),
    "Importante": Precision(4096, 0.99, least=2 * PAIRS_SAMPLES),
}

BATCH = 32
"""Masks that are made at once, a power of two."""

NEAR_SHARE, ANY_SHARE = 0.74, 0.20
"""Shares of interactions of three in what the linear model leaves unexplained of the differences of complements.

The first is that of interactions as closeness predicts them, the second of those that are as large between distant
regions; the rest are of higher orders, which the design leaves as random masks would. Fitted to the squared differences
of the weights of two explanations of 28 validation photographs; ``benchmarks/explain.py`` checks the standard errors.
"""

MIN_CHANGE = 0.1
"""Changes of the log-odds below this are too small to divide by."""

MAX_OUTLINED = 5
MIN_RELATIVE_WEIGHT = 0.1
"""A region is outlined if it is among the five strongest and has at least a tenth of the greatest weight."""

Probabilities = Callable[[np.ndarray], np.ndarray]
"""``uint8`` (N, H, W, 3) in, (N, classes) out."""

MakeSampler = Callable[[np.ndarray, np.ndarray, np.ndarray], Sampler]
"""From a photograph and hidden pixels, ``uint8`` (H, W, 3), and region numbers (H, W), as
:meth:`handler.engines.classifier.Classifier.sampler`."""

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
        r2: weighted coefficient of determination of the linear local model.
        masks: boolean (samples, regions), of the perturbed photographs.
        outcomes: (samples,), the class's log-odds for each.
        completeness: sum of the weights over the change of the log-odds from a photograph with every region hidden to
            the whole one; None if it hardly changes.
        stability: see :meth:`handler.explain.lime.surrogate.Fit.stability`.
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
    masks: np.ndarray
    outcomes: np.ndarray
    completeness: float | None
    stability: float
    target: float
    stopped: StopReason

    @cached_property
    def interactions(self) -> Interactions:
        """Of regions, and how well models with them fit; computed when it is first asked for (up to 0.6 s)."""
        return fit_interactions(self.masks, self.outcomes, closeness(self.lime.segments))


class Explainer:
    """Explains the output of a classifier; for one of pixels, see :func:`painting`.

    Args:
        make_sampler: of the classifier.
        batch: the most masks that a sampler is given at once, a multiple of :data:`BATCH`. It changes no explanation.
    """

    def __init__(self, make_sampler: MakeSampler, batch: int = BATCH) -> None:
        self.make_sampler = make_sampler
        self.batch = batch

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
        segments = regions_of(square)
        regions = int(segments.max()) + 1
        hidden = skin_surface(square)
        close = closeness(segments)
        sample = self.make_sampler(square, hidden, segments)
        rng = np.random.default_rng(_seed(square) if seed is None else seed)
        masks: list[np.ndarray] = []
        outcomes: list[np.ndarray] = []
        done = 0
        design = blocks(regions, rng, BATCH, close)
        for batch, due in _batches(design, precision, self.batch):
            masks.append(batch)
            outcomes.append(log_odds(sample(batch)))
            done += len(batch)
            if progress:
                progress(done / precision.samples)
            late = seconds is not None and time.perf_counter() - started > seconds
            if not (due or late):
                continue
            shown = np.concatenate(masks)
            model = fit(shown, np.concatenate(outcomes), design_effect(shown, close))
            stability = model.stability(label)
            if late or stability >= precision.stability:
                break
        settled = stability >= precision.stability and done >= min(precision.least, precision.samples)
        stopped: StopReason = "settled" if settled else "deadline" if late else "budget"
        ends = log_odds(sample(np.array([[True] * regions, [False] * regions])))[:, label]
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
            masks=shown,
            outcomes=np.concatenate(outcomes)[:, label],
            completeness=_completeness(model.weights[label], *ends),
            stability=stability,
            target=precision.stability,
            stopped=stopped,
        )


def painting(probabilities: Probabilities) -> MakeSampler:
    """Samplers for a classifier of pixels that cannot paint perturbed photographs itself."""

    def make_sampler(square: np.ndarray, hidden: np.ndarray, segments: np.ndarray) -> Sampler:
        return lambda masks: probabilities(paint(square, hidden, segments, masks))

    return make_sampler


def design_effect(masks: np.ndarray, closeness: np.ndarray) -> np.ndarray:
    """Variance of each region's weight relative to random pairs of masks, (regions,)."""
    third_order = NEAR_SHARE * confounding(masks, closeness) + ANY_SHARE * confounding(masks)
    return third_order + (1 - NEAR_SHARE - ANY_SHARE)


def _completeness(weights: np.ndarray, shown: float, hidden: float) -> float | None:
    change = shown - hidden
    return None if abs(change) < MIN_CHANGE else float(weights.sum() / change)


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


def _batches(design: Iterator[np.ndarray], precision: Precision, largest: int) -> Iterator[tuple[np.ndarray, bool]]:
    """The masks of ``precision``, ``largest`` at once, and whether the stability is to be checked after them.

    ``design`` yields :data:`BATCH` masks at a time. No batch goes past a number of masks that is to be checked.
    """
    done, due = 0, precision.least
    while done < precision.samples:
        size = min(largest, due - done, precision.samples - done)
        done += size
        yield np.concatenate([next(design) for _ in range(-(-size // BATCH))])[:size], done in (due, precision.samples)
        if done == due:
            due = _next_check(due)


def _next_check(due: int) -> int:
    """The number of samples after ``due`` at which they are whole designs: 128, 192, 256, 384, 512 …"""
    return due * 3 // 2 if due & (due - 1) == 0 else due * 4 // 3


def _seed(square: np.ndarray) -> int:
    return int.from_bytes(hashlib.sha256(square.tobytes()).digest()[:8], "big")
