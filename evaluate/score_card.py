"""The score card: every metric of a model on a set of images, with its confidence interval.

These types are the layout of ``score_card.json``. A value that is not defined (of a class without images, say) is None.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Struct, UnsetType

from evaluate.bootstrap import Estimate
from evaluate.trade_off import TradeOff

MIN_GROUP_IMAGES = 30
"""Smaller groups are marked as too small to judge."""

UNKNOWN = "unknown"

UNCHANGED, MEAN_CHANGE = "none", "mean of all changes"
"""Names of the rows without a shift, and with the mean of all shifts."""


class ModelFile(Struct, frozen=True):
    """The evaluated checkpoint: file name and first 12 digits of its SHA-256."""

    file: str
    sha256: str


class Intervals(Struct, frozen=True):
    """Method of the intervals."""

    level: float
    method: str
    resampled: str
    resamples: int
    seed: int


class Reference(Struct, frozen=True):
    """Metrics of the trivial classifier that always predicts the most frequent class."""

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
    """Sensitivity and specificity of a decision rule, and its threshold on this set."""

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


class NoveltyMetrics(Struct, frozen=True):
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


class ArithmeticMetrics(Struct, frozen=True):
    """Metrics of one arithmetic.

    Attributes:
        name: float32, bfloat16 (predictions where the CPU has it) or int8 (LIME's perturbations).
        macro_auroc: None if all images have the same class.
        agreement: share of the images with the same most probable class as in float32.
        largest_difference: of any probability from float32.
        log_odds_rmse: root mean square difference of the log-odds from float32, clipped as for explanations.
    """

    name: str
    accuracy: float
    balanced_accuracy: float
    macro_auroc: float | None
    expected_calibration_error: float
    agreement: float
    largest_difference: float
    log_odds_rmse: float


class DiseaseMetrics(Struct, frozen=True):
    """Predictions for the photographs of one disease.

    Attributes:
        malignant_flag: share that is flagged as malignant; None if the model has no threshold for that.
        novelty_flag: share that is flagged as unlike the training images; None if their novelty is not known.
        set_size: mean number of diagnoses that cannot be excluded; None if the model has no threshold for that.
        diagnoses: share of each class as the most probable one.
        sources: metrics of each source, if there are several.
    """

    images: int
    malignant_flag: Estimate | None
    novelty_flag: Estimate | None
    set_size: Estimate | None
    diagnoses: dict[str, Estimate]
    sources: dict[str, DiseaseMetrics] = {}


class ScoreCard(Struct, frozen=True):
    """All metrics of a model on a set of images, in float32 except for ``arithmetics`` and ``robustness``.

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
    novelty: NoveltyMetrics | None
    arithmetics: list[ArithmeticMetrics]
    robustness: Robustness | None = None
    trade_off: TradeOff | None = None
    plausible: PlausibleSets | None = None
    other_diseases: dict[str, DiseaseMetrics] | UnsetType = UNSET
