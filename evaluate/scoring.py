"""Computes the score card from a model's predictions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from msgspec import UNSET

from api.classes import CLASSES, MALIGNANT, MELANOMA, class_indices
from evaluate import metrics
from evaluate.bootstrap import LEVEL, Bootstrap, Estimate, clusters_of, rounded
from evaluate.dataset import Example
from evaluate.metrics import BINS, Point, at_sensitivity, at_specificity
from evaluate.predictions import NOVELTY_LIMIT, OtherDiseasePredictions, Predictions, malignant_scores, summed
from evaluate.score_card import (
    MIN_GROUP_IMAGES,
    UNKNOWN,
    ArithmeticMetrics,
    Bin,
    ClassMetrics,
    ClassSets,
    Detection,
    DiseaseMetrics,
    Group,
    Intervals,
    Metrics,
    ModelFile,
    NoveltyMetrics,
    OperatingPoint,
    PlausibleSets,
    Reference,
    Robustness,
    ScoreCard,
)
from evaluate.trade_off import TradeOff, evaluate
from handler.model.calibration import COVERAGE, plausible

SPECIFICITIES = (0.80, 0.90, 0.95)
SENSITIVITIES = (0.90, 0.95)
"""Operating points on the melanoma curve."""

MALIGNANT_SENSITIVITIES = (0.93,)
"""Operating points on the curve of the malignant classes."""

AGES = (("<30", 30), ("30–44", 45), ("45–59", 60), ("60–74", 75), ("≥75", math.inf))
"""Names of the age groups and the age, in years, below which each ends."""

SKIN_TONES = {"0": "0 (very dark)", "5": "5 (very light)"}
"""Names of the ends of MILK10k's scale; the others are called by their number."""


def score_card(
    predictions: Predictions,
    resamples: int = 1000,
    seed: int = 0,
    arithmetics: Sequence[ArithmeticMetrics] = (),
    robustness: Robustness | None = None,
    trade_off: TradeOff | None = None,
    others: OtherDiseasePredictions | None = None,
) -> ScoreCard:
    """Compute the card, with intervals over ``resamples`` resamples of the lesions.

    ``arithmetics``, ``robustness`` and the held-out part of ``trade_off`` need the network and are computed separately.
    ``others`` are predictions for photographs of other diseases.
    """
    lesions = [example.lesion for example in predictions.examples]
    bootstrap = Bootstrap(clusters_of(lesions), resamples, seed)
    (file, sha256), novelty = predictions.model, predictions.novelty
    given = predictions.probabilities, predictions.labels
    return ScoreCard(
        images=len(lesions),
        lesions=len({lesion for lesion in lesions if lesion}),
        images_without_lesion=lesions.count(""),
        model=ModelFile(file, sha256) if file else None,
        intervals=Intervals(LEVEL, "percentile bootstrap", "lesions" if any(lesions) else "images", resamples, seed),
        reference=_reference(predictions.labels),
        metrics=Metrics(
            **{name: bootstrap.estimate(partial(getattr(metrics, name), *given)) for name in Metrics.__struct_fields__}
        ),
        classes=_classes(predictions, bootstrap),
        confusion=metrics.confusion(*given).tolist(),
        reliability=_reliability(predictions),
        melanoma=_detection(predictions, bootstrap, [MELANOMA], SPECIFICITIES, SENSITIVITIES),
        malignant=_detection(
            predictions, bootstrap, MALIGNANT, (), MALIGNANT_SENSITIVITIES, predictions.malignant_threshold
        ),
        groups={
            kind: {name: _group(predictions, member, bootstrap) for name, member in members.items()}
            for kind, members in group_members(predictions.examples).items()
        },
        novelty=None if novelty is None else NoveltyMetrics(NOVELTY_LIMIT, bootstrap.mean(novelty > NOVELTY_LIMIT)),
        arithmetics=list(arithmetics),
        robustness=robustness,
        trade_off=trade_off and evaluate(trade_off, predictions.probabilities, predictions.examples, resamples, seed),
        plausible=_plausible(predictions, bootstrap),
        other_diseases=disease_metrics(others, resamples, seed) if others else UNSET,
    )


def compare_arithmetic(
    name: str, probabilities: np.ndarray, reference: np.ndarray, labels: np.ndarray
) -> ArithmeticMetrics:
    """``probabilities`` (N, classes) compared with those in float32, ``reference``, for ``labels`` (N,)."""
    values: dict[str, Any] = {
        "accuracy": metrics.accuracy(probabilities, labels),
        "balanced_accuracy": metrics.balanced_accuracy(probabilities, labels),
        "macro_auroc": metrics.macro_auroc(probabilities, labels),
        "expected_calibration_error": metrics.expected_calibration_error(probabilities, labels),
        "agreement": metrics.agreement(probabilities, reference),
        "largest_difference": np.abs(probabilities.astype(np.float64) - reference).max(),
        "log_odds_rmse": metrics.log_odds_rmse(probabilities, reference),
    }
    values = {key: None if np.isnan(value) else round(float(value), 4) for key, value in values.items()}
    return ArithmeticMetrics(name, **values)


def disease_metrics(predictions: OtherDiseasePredictions, resamples: int, seed: int) -> dict[str, DiseaseMetrics]:
    """Metrics of each disease by its ``dx``, in descending order of the number of images.

    The images of each disease are resampled separately.
    """
    dx = np.array([e.dx for e in predictions.examples])
    source = np.array([e.source for e in predictions.examples])
    probabilities, novelty = predictions.probabilities, predictions.novelty
    malignant_threshold, plausible_threshold = predictions.malignant_threshold, predictions.plausible_threshold
    flagged = None if malignant_threshold is None else malignant_scores(probabilities) >= malignant_threshold
    novel = None if novelty is None else novelty > NOVELTY_LIMIT
    sizes = None if plausible_threshold is None else plausible(probabilities, plausible_threshold).sum(1)

    def metrics_of(member: np.ndarray) -> DiseaseMetrics:
        bootstrap = Bootstrap(np.arange(member.sum()), resamples, seed)

        def mean(values: np.ndarray | None) -> Estimate | None:
            return None if values is None else bootstrap.mean(values[member])

        sources = _by_frequency(source[member])
        return DiseaseMetrics(
            images=int(member.sum()),
            malignant_flag=mean(flagged),
            novelty_flag=mean(novel),
            set_size=mean(sizes),
            diagnoses={name: bootstrap.mean(probabilities[member].argmax(1) == i) for i, name in enumerate(CLASSES)},
            sources={name: metrics_of(member & (source == name)) for name in sources} if len(sources) > 1 else {},
        )

    return {name: metrics_of(dx == name) for name in _by_frequency(dx)}


def group_members(examples: list[Example]) -> dict[str, dict[str, np.ndarray]]:
    """Members, boolean (N,), of the groups that have images, by kind and name; unknown ones come last.

    There are groups by source and skin tone only if one is known.
    """
    names = {
        "age": ["" if e.age is None else next(name for name, end in AGES if e.age < end) for e in examples],
        "sex": [e.sex for e in examples],
        "site": [e.site for e in examples],
    }
    if any(e.source for e in examples):
        names["source"] = [e.source for e in examples]
    if any(e.skin_tone for e in examples):
        names["skin tone"] = [SKIN_TONES.get(e.skin_tone, e.skin_tone) for e in examples]
    groups: dict[str, dict[str, np.ndarray]] = {}
    for kind, of_images in names.items():
        order = [name for name, _ in AGES] if kind == "age" else sorted({*of_images} - {""})
        groups[kind] = {name or UNKNOWN: np.array(of_images) == name for name in [*order, ""] if name in of_images}
    return groups


def _reference(labels: np.ndarray) -> Reference:
    counts = np.bincount(labels, minlength=len(CLASSES))
    return Reference(
        list(CLASSES)[counts.argmax()], rounded(counts.max() / len(labels)), rounded(1 / np.count_nonzero(counts))
    )


def _classes(predictions: Predictions, bootstrap: Bootstrap) -> dict[str, ClassMetrics]:
    probabilities, labels = predictions.probabilities, predictions.labels
    sensitivity, ppv, auroc = (
        bootstrap.estimates(partial(f, probabilities, labels)) for f in (metrics.recalls, metrics.ppvs, metrics.aurocs)
    )
    counts = np.bincount(labels, minlength=len(CLASSES))
    return {
        name: ClassMetrics(int(counts[i]), sensitivity.at(i), ppv.at(i), auroc.at(i)) for i, name in enumerate(CLASSES)
    }


def _reliability(predictions: Predictions) -> list[Bin]:
    bins = zip(*metrics.reliability(predictions.probabilities, predictions.labels), strict=True)
    return [
        Bin(rounded(i / BINS), rounded((i + 1) / BINS), int(images), rounded(confidence), rounded(accuracy))
        for i, (images, confidence, accuracy) in enumerate(bins)
    ]


def _detection(
    predictions: Predictions,
    bootstrap: Bootstrap,
    classes: Sequence[str],
    specificities: Sequence[float],
    sensitivities: Sequence[float],
    threshold: float | None = None,
) -> Detection:
    indices = class_indices(classes)
    scores = summed(predictions.probabilities, indices)
    positive = np.isin(predictions.labels, indices)
    curve = partial(metrics.roc, scores, positive)

    def decision(rule: str, threshold: float | None, called: np.ndarray) -> OperatingPoint:
        rates = bootstrap.estimates(partial(metrics.rates, called, positive))
        return OperatingPoint(rule, _threshold(threshold), rates.at(0), rates.at(1))

    def reading(rule: str, read: Callable[..., Point], rate: float) -> OperatingPoint:
        """A point of the curve; the threshold is chosen anew in each resample."""
        rates = bootstrap.estimates(lambda weights: read(curve(weights), rate).rates)
        threshold = _threshold(read(curve(), rate).threshold)
        return OperatingPoint(f"{rule} {rate:.2f}", threshold, rates.at(0), rates.at(1))

    points = [decision("most probable class", None, np.isin(predictions.probabilities.argmax(1), indices))]
    if threshold is not None:
        points.append(decision("malignant threshold", threshold, scores >= threshold))
    points += [reading("specificity", at_specificity, rate) for rate in specificities]
    points += [reading("sensitivity", at_sensitivity, rate) for rate in sensitivities]
    return Detection(
        classes=list(classes) if len(classes) > 1 else UNSET,
        images=int(positive.sum()),
        auroc=bootstrap.estimate(lambda weights: metrics.area(curve(weights))),
        operating_points=points,
    )


def _group(predictions: Predictions, member: np.ndarray, bootstrap: Bootstrap) -> Group:
    probabilities, labels = predictions.probabilities[member], predictions.labels[member]

    def estimate(metric: Callable) -> Estimate:
        return bootstrap.estimate(lambda weights: metric(probabilities, labels, weights[:, member]))

    return Group(
        images=len(labels),
        few=len(labels) < MIN_GROUP_IMAGES,
        classes=len(set(labels)),
        accuracy=estimate(metrics.accuracy),
        balanced_accuracy=estimate(metrics.balanced_accuracy),
    )


def _plausible(predictions: Predictions, bootstrap: Bootstrap) -> PlausibleSets | None:
    threshold, labels = predictions.plausible_threshold, predictions.labels
    if threshold is None:
        return None
    sets = plausible(predictions.probabilities, threshold)
    covered, sizes = sets[np.arange(len(labels)), labels], sets.sum(1)
    class_coverage, class_size = (
        bootstrap.estimates(partial(metrics.class_means, values, labels, len(CLASSES))) for values in (covered, sizes)
    )
    counts = np.bincount(labels, minlength=len(CLASSES))
    return PlausibleSets(
        target=COVERAGE,
        threshold=float(f"{threshold:.9g}"),
        coverage=bootstrap.mean(covered),
        size=bootstrap.mean(sizes),
        classes={
            name: ClassSets(int(counts[i]), class_coverage.at(i), class_size.at(i)) for i, name in enumerate(CLASSES)
        },
    )


def _threshold(value: float | np.ndarray | None) -> float | None:
    """``value`` with nine digits, which identify any float32; None for a rule without a finite threshold."""
    return None if value is None or not math.isfinite(value) else float(f"{float(value):.9g}")


def _by_frequency(names: np.ndarray) -> list[str]:
    return [name for name, _ in Counter(names.tolist()).most_common()]
