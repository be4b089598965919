"""The score card: every metric of a model on a set of images, with its confidence interval.

The types below are the layout of ``score_card.json``. A value that is not defined (of a class without images, say) is
None.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
import numpy as np
from msgspec import UNSET, Struct, UnsetType

from api.classes import CLASSES, MALIGNANT, MELANOMA, class_indices
from evaluate import metrics
from evaluate.arithmetic import ArithmeticMetrics
from evaluate.bootstrap import LEVEL, Bootstrap, Estimate, clusters_of, rounded
from evaluate.dataset import Example
from evaluate.metrics import BINS, Point, at_sensitivity, at_specificity
from evaluate.other_diseases import DiseaseMetrics, disease_metrics
from evaluate.predictions import NOVELTY_LIMIT, OtherDiseasePredictions, Predictions, summed
from evaluate.trade_off import TradeOff, evaluate
from handler.model.calibration import COVERAGE, plausible

SPECIFICITIES = (0.80, 0.90, 0.95)
SENSITIVITIES = (0.90, 0.95)
"""Operating points on the melanoma curve."""

MALIGNANT_SENSITIVITIES = (0.93,)
"""Operating points on the curve of the malignant classes."""

AGES = (("<30", 30), ("30–44", 45), ("45–59", 60), ("60–74", 75), ("≥75", math.inf))
"""Names of the age groups and the age, in years, below which each ends."""

MIN_GROUP_IMAGES = 30
"""A smaller group is marked as too small to judge."""

SKIN_TONES = {"0": "0 (very dark)", "5": "5 (very light)"}
"""Names of the ends of MILK10k's scale; the others are called by their number."""

UNKNOWN = "unknown"

UNCHANGED, MEAN_CHANGE = "none", "mean of all changes"
"""Names of the rows without a shift, and with the mean of all shifts."""


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
    """Metrics of the whole set, each computed by the function of its name in :mod:`evaluate.metrics`."""

    accuracy: Estimate
    balanced_accuracy: Estimate
    macro_auroc: Estimate
    macro_f1: Estimate
    expected_calibration_error: Estimate
    brier_score: Estimate
    log_loss: Estimate


class ClassMetrics(Struct, frozen=True):
    """One class against the rest."""

    images: int
    sensitivity: Estimate
    ppv: Estimate = msgspec.field(name="precision")
    auroc: Estimate


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
    sensitivity: Estimate
    specificity: Estimate


class Detection(Struct, frozen=True, kw_only=True):
    """One or several classes, by their summed probability, against the rest; ``classes`` only if they are several."""

    classes: list[str] | UnsetType = UNSET
    images: int
    auroc: Estimate
    operating_points: list[OperatingPoint]


class Group(Struct, frozen=True):
    """Images of one age group, sex, body site, source or skin tone; ``classes`` is how many classes they have."""

    images: int
    few: bool
    classes: int
    accuracy: Estimate
    balanced_accuracy: Estimate


class Novelty(Struct, frozen=True):
    """The share of images flagged as unlike the training images."""

    limit: float
    flagged: Estimate


class ClassSets(Struct, frozen=True):
    """The sets of the images of one class."""

    images: int
    coverage: Estimate
    size: Estimate


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
    coverage: Estimate
    size: Estimate
    classes: dict[str, ClassSets]


class ShiftMetrics(Struct, frozen=True):
    """A set of images under one shift.

    Attributes:
        shift: its name in :data:`evaluate.robustness.SHIFTS`, or :data:`MEAN_CHANGE`.
        accuracy_change: difference from the unchanged images, with the interval of the paired difference.
        balanced_accuracy_change: likewise.
        agreement: share of the images whose most probable class stays the same.
    """

    shift: str
    accuracy: Estimate
    balanced_accuracy: Estimate
    accuracy_change: Estimate
    balanced_accuracy_change: Estimate
    agreement: Estimate


class Robustness(Struct, frozen=True):
    """A model under every shift.

    Attributes:
        sha256: first 12 digits of the checkpoint's.
        arithmetic: that the network was computed in.
        images: of each set, by its name.
        sets: metrics of each set, by its name.
    """

    sha256: str
    arithmetic: str
    images: dict[str, int]
    sets: dict[str, list[ShiftMetrics]]


class ScoreCard(Struct, frozen=True):
    """Everything that is known of a model on a set of images, in float32 but for ``arithmetics`` and ``robustness``.

    ``confusion`` holds counts, rows true classes and columns predicted ones, both in the order of
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
    classes: dict[str, ClassMetrics]
    confusion: list[list[int]]
    reliability: list[Bin]
    melanoma: Detection
    malignant: Detection
    groups: dict[str, dict[str, Group]]
    novelty: Novelty | None
    arithmetics: list[ArithmeticMetrics]
    robustness: Robustness | None = None
    trade_off: TradeOff | None = None
    plausible: PlausibleSets | None = None
    other_diseases: dict[str, DiseaseMetrics] | UnsetType = UNSET


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

    ``arithmetics``, ``robustness`` and the held-out part of ``trade_off`` need the network and come from elsewhere.
    ``others`` are predictions for photographs of other diseases.
    """
    lesions = [example.lesion for example in predictions.examples]
    bootstrap = Bootstrap(clusters_of(lesions), resamples, seed)
    file, sha256 = predictions.model
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
        novelty=_novelty(predictions, bootstrap),
        arithmetics=list(arithmetics),
        robustness=robustness,
        trade_off=trade_off and evaluate(trade_off, predictions.probabilities, predictions.examples, resamples, seed),
        plausible=_plausible(predictions, bootstrap),
        other_diseases=disease_metrics(others, resamples, seed) if others else UNSET,
    )


def group_members(examples: list[Example]) -> dict[str, dict[str, np.ndarray]]:
    """Members, boolean (N,), of the groups that have images, by kind and name; unknown ones come last.

    There are groups by source and skin tone only if one is known.
    """
    names = {
        "age": [_age_group(e.age) for e in examples],
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

    def reading(rule: str, read: Callable[..., Point], least: float) -> OperatingPoint:
        """A point of the curve; each resample has a threshold of its own."""
        rates = bootstrap.estimates(lambda weights: read(curve(weights), least).rates)
        threshold = _threshold(read(curve(), least).threshold)
        return OperatingPoint(f"{rule} {least:.2f}", threshold, rates.at(0), rates.at(1))

    points = [decision("most probable class", None, np.isin(predictions.probabilities.argmax(1), indices))]
    if threshold is not None:
        points.append(decision("malignant threshold", threshold, scores >= threshold))
    points += [reading("specificity", at_specificity, least) for least in specificities]
    points += [reading("sensitivity", at_sensitivity, least) for least in sensitivities]
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


def _novelty(predictions: Predictions, bootstrap: Bootstrap) -> Novelty | None:
    if predictions.novelty is None:
        return None
    flagged = predictions.novelty > NOVELTY_LIMIT
    return Novelty(NOVELTY_LIMIT, bootstrap.estimate(partial(metrics.mean, flagged)))


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
        coverage=bootstrap.estimate(partial(metrics.mean, covered)),
        size=bootstrap.estimate(partial(metrics.mean, sizes)),
        classes={
            name: ClassSets(int(counts[i]), class_coverage.at(i), class_size.at(i)) for i, name in enumerate(CLASSES)
        },
    )


def _age_group(age: float | None) -> str:
    return "" if age is None else next(name for name, end in AGES if age < end)


def _threshold(value: float | np.ndarray | None) -> float | None:
    """Nine digits, which tell every float32 from its neighbours; None for a rule without a finite threshold."""
    return None if value is None or not math.isfinite(value) else float(f"{float(value):.9g}")
