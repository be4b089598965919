"""The score card: every figure of a model on a set of images, with its confidence interval.

The types below are the layout of ``score_card.json``. A figure that is not defined (of a class without images, say) is
None.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
import numpy as np
from msgspec import UNSET, Struct, UnsetType

from api.classes import CLASSES, MALIGNANT, MELANOMA, class_indices
from evaluate import metrics
from evaluate.arithmetic import ArithmeticFigures
from evaluate.bootstrap import LEVEL, Bootstrap, clusters_of
from evaluate.dataset import Example
from evaluate.figures import Figure, figure_of, number
from evaluate.other_diseases import DiseaseFigures, OtherAnswers, disease_figures
from evaluate.predictions import NOVELTY_LIMIT, Predictions, malignant_scores
from evaluate.robustness import Robustness
from evaluate.roc import Point, Roc, area, at_sensitivity, at_specificity, aurocs, macro_auroc, roc
from evaluate.trade_off import TradeOff, evaluate
from handler.model.plausible import COVERAGE, plausible

SPECIFICITIES = (0.80, 0.90, 0.95)
SENSITIVITIES = (0.90, 0.95)
"""Operating points on the melanoma curve."""

MALIGNANT_SENSITIVITY = 0.93
"""Operating point on the curve of the malignant classes."""

AGES = (("<30", 30), ("30–44", 45), ("45–59", 60), ("60–74", 75), ("≥75", math.inf))
"""Names of the age groups and the age, in years, below which each ends."""

MIN_GROUP_IMAGES = 30
"""A smaller group is marked as too small to judge."""

SKIN_TONES = {"0": "0 (very dark)", "5": "5 (very light)"}
"""Names of the ends of MILK10k's scale; the others are called by their number."""

UNKNOWN = "unknown"


class ModelFile(Struct, frozen=True):
    """The checkpoint that was evaluated: its name and the first 12 digits of its SHA-256."""

    file: str
    sha256: str


class Intervals(Struct, frozen=True):
    """How the intervals were computed."""

    level: float
    method: str
    resampled: str
    resamples: int
    seed: int


class Reference(Struct, frozen=True):
    """Always answering the most frequent class."""

    dx: str = msgspec.field(name="class")
    accuracy: float | None = None
    balanced_accuracy: float | None = None


class Metrics(Struct, frozen=True):
    """Figures of the whole set."""

    accuracy: Figure
    balanced_accuracy: Figure
    macro_auroc: Figure
    macro_f1: Figure
    expected_calibration_error: Figure
    brier_score: Figure
    log_loss: Figure


class ClassFigures(Struct, frozen=True):
    """One class against the rest."""

    images: int
    sensitivity: Figure
    precision: Figure
    auroc: Figure


class Bin(Struct, frozen=True):
    """A bin of the reliability diagram, with the means of its images."""

    start: float | None = msgspec.field(name="from")
    end: float | None = msgspec.field(name="to")
    images: int = 0
    confidence: float | None = None
    accuracy: float | None = None


class OperatingPoint(Struct, frozen=True):
    """Sensitivity and specificity of a rule, and the threshold that it has on this set."""

    rule: str
    threshold: float | None
    sensitivity: Figure
    specificity: Figure


class Melanoma(Struct, frozen=True):
    """Melanoma against the rest."""

    images: int
    auroc: Figure
    operating_points: list[OperatingPoint]


class Malignant(Struct, frozen=True):
    """The malignant classes together, by their summed probability, against the rest."""

    classes: list[str]
    images: int
    auroc: Figure
    operating_points: list[OperatingPoint]


class Group(Struct, frozen=True):
    """Images of one age group, sex, body site, source or skin tone; ``classes`` is how many classes they have."""

    images: int
    few: bool
    classes: int
    accuracy: Figure
    balanced_accuracy: Figure


class Novelty(Struct, frozen=True):
    """The share of images flagged as unlike the training images."""

    limit: float
    flagged: Figure


class ClassSets(Struct, frozen=True):
    """The sets of the images of one class."""

    images: int
    coverage: Figure
    size: Figure


class PlausibleSets(Struct, frozen=True):
    """The sets of diagnoses that cannot be excluded.

    Attributes:
        target: the coverage that the threshold was fitted to reach.
        threshold: a diagnosis is in the set from this probability.
        coverage: share of images whose set holds the true class.
        size: mean number of classes in a set.
        classes: by true class.
    """

    target: float
    threshold: float
    coverage: Figure
    size: Figure
    classes: dict[str, ClassSets]


class ScoreCard(Struct, frozen=True):
    """Everything that is known of a model on a set of images, in float32 but for ``arithmetics`` and ``robustness``.

    ``confusion`` holds counts, rows true classes and columns answers; ``classes`` and ``confusion`` are in the order of
    :data:`api.classes.CLASSES`; ``groups`` are by kind (age, sex, site, and if known source and skin tone) and name.
    ``other_diseases``, by their ``dx``, are only in cards of sets with photographs of diseases that are none of the
    classes.
    """

    images: int
    lesions: int
    images_without_lesion: int
    model: ModelFile | None
    intervals: Intervals
    reference: Reference
    metrics: Metrics
    classes: dict[str, ClassFigures]
    confusion: list[list[int]]
    reliability: list[Bin]
    melanoma: Melanoma
    malignant: Malignant
    groups: dict[str, dict[str, Group]]
    novelty: Novelty | None
    arithmetics: list[ArithmeticFigures]
    robustness: Robustness | None = None
    trade_off: TradeOff | None = None
    plausible: PlausibleSets | None = None
    other_diseases: dict[str, DiseaseFigures] | UnsetType = UNSET


def score_card(
    predictions: Predictions,
    resamples: int = 1000,
    seed: int = 0,
    arithmetics: Sequence[ArithmeticFigures] = (),
    robustness: Robustness | None = None,
    trade_off: TradeOff | None = None,
    others: OtherAnswers | None = None,
) -> ScoreCard:
    """Compute the card, with intervals over ``resamples`` resamples of the lesions.

    ``arithmetics``, ``robustness`` and the held-out part of ``trade_off`` need the network and come from elsewhere.
    ``others`` are answers to photographs of other diseases.
    """
    lesions = [example.lesion for example in predictions.examples]
    bootstrap = Bootstrap(clusters_of(lesions), resamples, seed)
    file, sha256 = predictions.model
    return ScoreCard(
        images=len(lesions),
        lesions=len({lesion for lesion in lesions if lesion}),
        images_without_lesion=lesions.count(""),
        model=ModelFile(file, sha256) if file else None,
        intervals=Intervals(LEVEL, "percentile bootstrap", "lesions" if any(lesions) else "images", resamples, seed),
        reference=_reference(predictions.labels),
        metrics=_metrics(predictions, bootstrap),
        classes=_classes(predictions, bootstrap),
        confusion=metrics.confusion(predictions.probabilities, predictions.labels).tolist(),
        reliability=_reliability(predictions),
        melanoma=_melanoma(predictions, bootstrap),
        malignant=_malignant(predictions, bootstrap),
        groups=_groups(predictions, bootstrap),
        novelty=_novelty(predictions, bootstrap),
        arithmetics=list(arithmetics),
        robustness=robustness,
        trade_off=trade_off and evaluate(trade_off, predictions.probabilities, predictions.examples, resamples, seed),
        plausible=_plausible(predictions, bootstrap),
        other_diseases=disease_figures(others, resamples, seed) if others else UNSET,
    )


def as_json(card: ScoreCard) -> str:
    """The card as a JSON document: the same bytes for the same card."""
    return json.dumps(msgspec.to_builtins(card), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def melanoma_curve(predictions: Predictions, weights: np.ndarray | None = None) -> Roc:
    """The ROC curve of melanoma's probability; ``weights`` (..., N) as in :mod:`evaluate.metrics`."""
    (melanoma,) = class_indices([MELANOMA])
    return roc(predictions.probabilities[:, melanoma], predictions.labels == melanoma, weights)


def group_members(examples: list[Example]) -> dict[str, dict[str, np.ndarray]]:
    """Members, boolean (N,), of the groups that have images, by kind and name; unknown ones come last.

    There are groups by source and skin tone only if one is known.
    """
    names = {
        "age": [_age_group(e.age) for e in examples],
        "sex": [e.sex or UNKNOWN for e in examples],
        "site": [e.site or UNKNOWN for e in examples],
    }
    if any(e.source for e in examples):
        names["source"] = [e.source or UNKNOWN for e in examples]
    if any(e.skin_tone for e in examples):
        names["skin tone"] = [SKIN_TONES.get(e.skin_tone, e.skin_tone) or UNKNOWN for e in examples]
    groups: dict[str, dict[str, np.ndarray]] = {}
    for kind, of_images in names.items():
        in_order = [name for name, _ in AGES] if kind == "age" else sorted(set(of_images))
        order = [name for name in in_order if name != UNKNOWN] + [UNKNOWN]
        groups[kind] = {name: np.array(of_images) == name for name in order if name in of_images}
    return groups


METRICS: dict[str, Callable] = {
    "accuracy": metrics.accuracy,
    "balanced_accuracy": metrics.balanced_accuracy,
    "macro_auroc": macro_auroc,
    "macro_f1": metrics.macro_f1,
    "expected_calibration_error": metrics.expected_calibration_error,
    "brier_score": metrics.brier_score,
    "log_loss": metrics.log_loss,
}
"""By the name of the field of :class:`Metrics`; arguments as in :mod:`evaluate.metrics`."""


def _reference(labels: np.ndarray) -> Reference:
    counts = np.bincount(labels, minlength=len(CLASSES))
    return Reference(
        list(CLASSES)[counts.argmax()], number(counts.max() / len(labels)), number(1 / np.count_nonzero(counts))
    )


def _metrics(predictions: Predictions, bootstrap: Bootstrap) -> Metrics:
    given = predictions.probabilities, predictions.labels
    return Metrics(**{name: figure_of(bootstrap.estimate(partial(f, *given))) for name, f in METRICS.items()})


def _classes(predictions: Predictions, bootstrap: Bootstrap) -> dict[str, ClassFigures]:
    given = predictions.probabilities, predictions.labels
    sensitivity, precision, auroc = (
        bootstrap.estimate(partial(f, *given)) for f in (metrics.recalls, metrics.precisions, aurocs)
    )
    counts = np.bincount(predictions.labels, minlength=len(CLASSES))
    return {
        name: ClassFigures(int(counts[i]), figure_of(sensitivity, i), figure_of(precision, i), figure_of(auroc, i))
        for i, name in enumerate(CLASSES)
    }


def _reliability(predictions: Predictions) -> list[Bin]:
    bins = zip(*metrics.reliability(predictions.probabilities, predictions.labels), strict=True)
    return [
        Bin(
            number(b / metrics.BINS),
            number((b + 1) / metrics.BINS),
            int(images),
            number(confidence),
            number(accuracy),
        )
        for b, (images, confidence, accuracy) in enumerate(bins)
    ]


def _melanoma(predictions: Predictions, bootstrap: Bootstrap) -> Melanoma:
    (melanoma,) = class_indices([MELANOMA])
    positive = predictions.labels == melanoma
    called = predictions.probabilities.argmax(1) == melanoma
    curve = partial(melanoma_curve, predictions)
    points = [
        _decision("most probable class", None, called, positive, bootstrap),
        *(_reading(f"specificity {s:.2f}", partial(at_specificity, least=s), curve, bootstrap) for s in SPECIFICITIES),
        *(_reading(f"sensitivity {s:.2f}", partial(at_sensitivity, least=s), curve, bootstrap) for s in SENSITIVITIES),
    ]
    return Melanoma(int(positive.sum()), _area(curve, bootstrap), points)


def _malignant(predictions: Predictions, bootstrap: Bootstrap) -> Malignant:
    malignant = class_indices(MALIGNANT)
    positive = np.isin(predictions.labels, malignant)
    scores, threshold = malignant_scores(predictions.probabilities), predictions.malignant_threshold
    called = np.isin(predictions.probabilities.argmax(1), malignant)
    curve = partial(roc, scores, positive)
    points = [_decision("most probable class", None, called, positive, bootstrap)]
    if threshold is not None:
        points.append(_decision("malignant threshold", threshold, scores >= threshold, positive, bootstrap))
    reading = partial(at_sensitivity, least=MALIGNANT_SENSITIVITY)
    points.append(_reading(f"sensitivity {MALIGNANT_SENSITIVITY:.2f}", reading, curve, bootstrap))
    return Malignant(list(MALIGNANT), int(positive.sum()), _area(curve, bootstrap), points)


def _area(curve: Callable[..., Roc], bootstrap: Bootstrap) -> Figure:
    """AUROC of ``curve``, a function of the images' weights."""
    return figure_of(bootstrap.estimate(lambda weights: area(curve(weights))))


def _reading(
    rule: str, reading: Callable[[Roc], Point], curve: Callable[..., Roc], bootstrap: Bootstrap
) -> OperatingPoint:
    """A point of ``curve``, a function of the images' weights; each resample has a threshold of its own."""

    def rates(weights: np.ndarray) -> np.ndarray:
        point = reading(curve(weights))
        return np.stack([point.sensitivity, point.specificity], -1)

    estimated = bootstrap.estimate(rates)
    threshold = _threshold(reading(curve()).threshold)
    return OperatingPoint(rule, threshold, figure_of(estimated, 0), figure_of(estimated, 1))


def _decision(
    rule: str, threshold: float | None, called: np.ndarray, positive: np.ndarray, bootstrap: Bootstrap
) -> OperatingPoint:
    """The operating point of a decision ``called`` (N,) for the truth ``positive`` (N,)."""
    rates = bootstrap.estimate(lambda weights: np.stack(metrics.rates(called, positive, weights), -1))
    return OperatingPoint(rule, _threshold(threshold), figure_of(rates, 0), figure_of(rates, 1))


def _groups(predictions: Predictions, bootstrap: Bootstrap) -> dict[str, dict[str, Group]]:
    return {
        kind: {name: _group(predictions, member, bootstrap) for name, member in members.items()}
        for kind, members in group_members(predictions.examples).items()
    }


def _group(predictions: Predictions, member: np.ndarray, bootstrap: Bootstrap) -> Group:
    probabilities, labels = predictions.probabilities[member], predictions.labels[member]

    def estimate(figure: Callable) -> Figure:
        return figure_of(bootstrap.estimate(lambda weights: figure(probabilities, labels, weights[:, member])))

    return Group(
        images=len(labels),
        few=len(labels) < MIN_GROUP_IMAGES,
        classes=len(set(labels)),
        accuracy=estimate(metrics.accuracy),
        balanced_accuracy=estimate(metrics.balanced_accuracy),
    )


def _novelty(predictions: Predictions, bootstrap: Bootstrap) -> Novelty | None:
    if predictions.novelty is None:
        return None
    flagged = predictions.novelty > NOVELTY_LIMIT
    share = bootstrap.estimate(lambda weights: metrics.ratio(weights @ flagged, weights.sum(-1)))
    return Novelty(NOVELTY_LIMIT, figure_of(share))


def _plausible(predictions: Predictions, bootstrap: Bootstrap) -> PlausibleSets | None:
    threshold, labels = predictions.plausible_threshold, predictions.labels
    if threshold is None:
        return None
    sets = plausible(predictions.probabilities, threshold)
    of_sets: tuple[Callable, ...] = metrics.coverage, metrics.set_size, metrics.coverages, metrics.set_sizes
    coverage, size, coverages, sizes = (bootstrap.estimate(partial(f, sets, labels)) for f in of_sets)
    counts = np.bincount(labels, minlength=len(CLASSES))
    classes = {
        name: ClassSets(int(counts[i]), figure_of(coverages, i), figure_of(sizes, i)) for i, name in enumerate(CLASSES)
    }
    return PlausibleSets(COVERAGE, float(f"{threshold:.9g}"), figure_of(coverage), figure_of(size), classes)


def _age_group(age: float | None) -> str:
    return UNKNOWN if age is None else next(name for name, end in AGES if age < end)


def _threshold(value: float | np.ndarray | None) -> float | None:
    """Nine digits, which tell every float32 from its neighbours; None for a rule without a finite threshold."""
    return None if value is None or not math.isfinite(value) else float(f"{float(value):.9g}")
