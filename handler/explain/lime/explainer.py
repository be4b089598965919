"""LIME for photographs: the regions that support a diagnosis, with an estimate of the explanation's stability.

Ribeiro, Singh, Guestrin: "'Why Should I Trust You?': Explaining the Predictions of Any Classifier", KDD 2016. The
kernel and ``ImageExplanation`` are those of the lime package. There are four differences: masks come from a factorial
design that is optimised for the photograph's regions (``masks``), perturbed photographs are painted and classified in
batches, a single regression of log-odds serves all classes (``surrogate``) and is complemented by interactions of
regions (``interactions``), and sampling stops once the ranking of the regions is stable.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from lime.lime_image import ImageExplanation

from api.answer import StopReason
from api.request import DEFAULT_PRECISION, Precision
from handler.engines.classifier import Sampler
from handler.explain import Explanation, Progress
from handler.explain.lime.interactions import fit_interactions
from handler.explain.lime.masks import blocks, confounding
from handler.explain.lime.regions import closeness, outline, paint, regions_of, skin_surface
from handler.explain.lime.surrogate import Fit, fit, log_odds

MIN_SAMPLES = 128
"""With fewer, the standard errors are too uncertain to stop."""

PAIRS_SAMPLES = 512
"""With this many, masks of 18 regions distinguish nine in ten pairs; with twice as many, all."""


@dataclass(frozen=True)
class Budget:
    """When to stop sampling.

    Attributes:
        samples: largest number of perturbed photographs.
        stability: that suffices, see :class:`handler.explain.Explanation`.
        least: number of samples before which sampling goes on in any case; one that :func:`_next_check` returns.
    """

    samples: int
    stability: float
    least: int = MIN_SAMPLES


BUDGETS: dict[Precision, Budget] = {
    "Faible": Budget(512, 0.90),
    "Moyenne": Budget(1024, 0.95, least=PAIRS_SAMPLES),
    "Importante": Budget(4096, 0.99, least=2 * PAIRS_SAMPLES),
}

BATCH = 32
"""Size of a block of masks, a power of two."""

NEAR_SHARE, ANY_SHARE = 0.74, 0.20
"""Shares of third-order interactions in the variance that the linear model leaves unexplained.

The first is that of interactions that fall off with distance as ``closeness`` predicts, the second of those that do
not; the rest is of higher order, for which the design is no better than random masks. Fitted to the squared differences
between the weights of two explanations of 28 validation photographs.
"""

PAIRS = 5
"""How many of the strongest interactions an explanation has."""

MIN_CHANGE = 0.1
"""Changes of the log-odds below this are too small to divide by."""

NO_EFFECT = 1e-3
"""If hiding regions changes the log-odds by less, they have no effect, as in a photograph of one colour."""

MAX_OUTLINED = 5
MIN_RELATIVE_WEIGHT = 0.1
"""A region is outlined if it is among the five strongest and has at least a tenth of the largest weight."""

Probabilities = Callable[[np.ndarray], np.ndarray]
"""``uint8`` (N, H, W, 3) in, (N, classes) out."""

MakeSampler = Callable[[np.ndarray, np.ndarray, np.ndarray], Sampler]
"""From a photograph and hidden pixels, ``uint8`` (H, W, 3), and region numbers (H, W), as
:meth:`handler.engines.classifier.Classifier.sampler`."""


@dataclass(frozen=True, kw_only=True)
class LimeExplanation(Explanation):
    """An explanation with the lime package's own result, for all classes."""

    lime: ImageExplanation
    standard_errors: np.ndarray
    target: float


class LimeExplainer:
    """A :class:`handler.explain.Explainer`. For a classifier of pixels, see :func:`painting`.

    Args:
        make_sampler: of the classifier.
        batch: the largest number of masks for one call of a sampler, a multiple of :data:`BATCH`. It does not affect
            explanations.
    """

    def __init__(self, make_sampler: MakeSampler, batch: int = BATCH) -> None:
        self.make_sampler = make_sampler
        self.batch = batch

    def explain(
        self,
        square: np.ndarray,
        label: int,
        precision: Precision | Budget = DEFAULT_PRECISION,
        progress: Progress | None = None,
        seconds: float | None = None,
        seed: int | None = None,
    ) -> LimeExplanation:
        """As :meth:`handler.explain.Explainer.explain`, of ``uint8`` (H, W, 3).

        The same photograph and precision give the same explanation, unless the time limit ends it. Where no region has
        an effect, sampling ends after the first batch, and all weights are 0, without R² and stability. ``seed`` is
        that of the masks, and derived from the photograph unless given.
        """
        started = time.perf_counter()
        budget = BUDGETS[precision] if isinstance(precision, str) else precision
        segments = regions_of(square)
        regions = int(segments.max()) + 1
        hidden = skin_surface(square)
        close = closeness(segments)
        sample = self.make_sampler(square, hidden, segments)
        ends = log_odds(sample(np.array([[True] * regions, [False] * regions])))[:, label]
        rng = np.random.default_rng(_seed(square) if seed is None else seed)
        masks: list[np.ndarray] = []
        outcomes: list[np.ndarray] = []
        done = 0
        design = blocks(regions, rng, BATCH, close)
        for batch, due in _batches(design, budget, self.batch):
            masks.append(batch)
            outcomes.append(log_odds(sample(batch)))
            done += len(batch)
            if progress:
                progress(done / budget.samples)
            if done == len(batch) and np.ptp([*outcomes[0][:, label], *ends]) < NO_EFFECT:
                outcomes[0][:, label] = ends[0]
                model = fit(batch, outcomes[0])
                return LimeExplanation(
                    lime=as_lime(square, segments, model, label),
                    overlay=square.copy(),
                    segments=segments,
                    weights=model.weights[label],
                    standard_errors=model.standard_errors(label),
                    samples=done,
                    seconds=time.perf_counter() - started,
                    target=budget.stability,
                    stopped="settled",
                )
            late = seconds is not None and time.perf_counter() - started > seconds
            if not (due or late):
                continue
            shown = np.concatenate(masks)
            model = fit(shown, np.concatenate(outcomes), design_effect(shown, close))
            stability = model.stability(label)
            if late or stability >= budget.stability:
                break
        settled = stability >= budget.stability and done >= min(budget.least, budget.samples)
        stopped: StopReason = "settled" if settled else "deadline" if late else "budget"
        class_outcomes = np.concatenate(outcomes)[:, label]
        interactions = fit_interactions(shown, class_outcomes, close)
        lime = as_lime(square, segments, model, label)
        return LimeExplanation(
            lime=lime,
            overlay=outline(square, supporting_regions(lime, label)),
            segments=segments,
            weights=model.weights[label],
            standard_errors=model.standard_errors(label),
            samples=done,
            seconds=time.perf_counter() - started,
            r2=float(model.r2[label]),
            r2_with_pairs=interactions.r2,
            completeness=_completeness(model.weights[label], *ends),
            stability=stability,
            target=budget.stability,
            stopped=stopped,
            pairs=interactions.strongest(PAIRS),
        )


def painting(probabilities: Probabilities) -> MakeSampler:
    """Samplers for a classifier of pixels, which does not paint perturbed photographs itself."""

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


def _batches(design: Iterator[np.ndarray], budget: Budget, largest: int) -> Iterator[tuple[np.ndarray, bool]]:
    """The masks of ``budget`` in batches of at most ``largest``, and whether to check the stability after each.

    ``design`` yields :data:`BATCH` masks at a time. No batch extends beyond a number of samples at which to check.
    """
    done, due = 0, budget.least
    while done < budget.samples:
        size = min(largest, due - done, budget.samples - done)
        done += size
        yield np.concatenate([next(design) for _ in range(-(-size // BATCH))])[:size], done in (due, budget.samples)
        if done == due:
            due = _next_check(due)


def _next_check(due: int) -> int:
    """The next number of samples that makes complete designs: 128, 192, 256, 384, 512 …"""
    return due * 3 // 2 if due & (due - 1) == 0 else due * 4 // 3


def _seed(square: np.ndarray) -> int:
    return int.from_bytes(hashlib.sha256(square.tobytes()).digest()[:8], "big")
