"""The score card: every figure of a model on a set of images, each with the interval that so few images leave."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from handler.contract import CLASSES, MALIGNANT
from train import bootstrap, metrics
from train.bootstrap import Estimate, Figures
from train.data import Example
from train.predictions import Predictions
from train.roc import Point, area, at_sensitivity, at_specificity, roc

MELANOMA = "mel"
SPECIFICITIES = (0.80, 0.90, 0.95)
SENSITIVITIES = (0.90, 0.95)
"""At which the melanoma curve is read."""

AGES = (("<30", 30), ("30–44", 45), ("45–59", 60), ("60–74", 75), ("≥75", math.inf))
"""Names of the age groups and the age, in years, below which each ends."""

FEW = 30
"""A group with fewer images is said to be too small to judge."""

FLAGGED = 1.0
"""An image with a novelty above this is unlike the training images."""

UNKNOWN = "unknown"


def score_card(predictions: Predictions, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Everything that is known of the model, ready for JSON.

    A *figure* below is ``{"value", "low", "high"}``, the ends of its 95 % interval; a *point* is ``{"rule",
    "threshold", "sensitivity", "specificity"}``, the last two figures. What is not defined (a class without images) is
    null::

        {"images", "lesions": distinct ones, "images_without_lesion",
         "model": {"file", "sha256": first 12 digits} or null,
         "intervals": {"level", "method", "resampled": "lesions" or "images", "resamples", "seed"},
         "reference": {"class": the commonest, "accuracy", "balanced_accuracy"}: always answering that class,
         "metrics": {"accuracy", "balanced_accuracy", "macro_auroc", "macro_f1", "expected_calibration_error",
                     "brier_score", "log_loss"}: figures,
         "classes": {dx: {"images", "sensitivity", "precision", "auroc"}}: figures, one class against the rest,
         "confusion": counts; rows are true classes, columns answers, both in the order of "classes",
         "reliability": [{"from", "to": confidence, "images", "confidence", "accuracy": means of the bin}],
         "melanoma": {"images", "auroc": figure, "operating_points": [point]},
         "malignant": {"classes", "images", "auroc": figure, "operating_points": [point]},
         "groups": {"age" | "sex" | "site": {name: {"images", "few": bool, "classes": how many have images,
                                                    "accuracy", "balanced_accuracy"}}},
         "novelty": {"limit", "flagged": figure, the share above it} or null}

    At a fixed sensitivity or specificity each resample has a threshold of its own; the one shown is that of the set.
    """
    examples, labels = predictions.examples, predictions.labels
    lesions = [e.lesion for e in examples]
    groups = groups_of(examples)
    found = bootstrap.estimates(_figures(predictions, groups), bootstrap.clusters_of(lesions), resamples, seed)
    counts = np.bincount(labels, minlength=len(CLASSES))
    classes = {
        name: {"images": int(counts[i])}
        | {key: _figure(found[key], i) for key in ("sensitivity", "precision", "auroc")}
        for i, name in enumerate(CLASSES)
    }
    melanoma = list(CLASSES).index(MELANOMA)
    malignant_points = [_point("most probable class", found, "malignant argmax")]
    if predictions.malignant_threshold is not None:
        malignant_points.append(
            _point("malignant threshold", found, "malignant threshold", predictions.malignant_threshold)
        )
    file, sha256 = predictions.model
    return {
        "images": len(examples),
        "lesions": len({lesion for lesion in lesions if lesion}),
        "images_without_lesion": lesions.count(""),
        "model": {"file": file, "sha256": sha256} if file else None,
        "intervals": {
            "level": bootstrap.LEVEL,
            "method": "percentile bootstrap",
            "resampled": "lesions" if any(lesions) else "images",
            "resamples": resamples,
            "seed": seed,
        },
        "reference": {
            "class": list(CLASSES)[counts.argmax()],
            "accuracy": _number(counts.max() / len(labels)),
            "balanced_accuracy": _number(1 / np.count_nonzero(counts)),
        },
        "metrics": {name: _figure(found[name]) for name in METRICS},
        "classes": classes,
        "confusion": metrics.confusion(predictions.probabilities, labels).tolist(),
        "reliability": _reliability(predictions),
        "melanoma": {
            "images": int(counts[melanoma]),
            "auroc": classes[MELANOMA]["auroc"],
            "operating_points": [_point("most probable class", found, "melanoma argmax")]
            + [
                _point(rule, found, rule, float(read(_melanoma_curve(predictions)).threshold))
                for rule, read in READINGS.items()
            ],
        },
        "malignant": {
            "classes": list(MALIGNANT),
            "images": int(_is_malignant(labels).sum()),
            "auroc": _figure(found["malignant auroc"]),
            "operating_points": malignant_points,
        },
        "groups": {
            kind: {
                name: {
                    "images": int(member.sum()),
                    "few": bool(member.sum() < FEW),
                    "classes": len(set(labels[member])),
                    "accuracy": _figure(found[kind, name, "accuracy"]),
                    "balanced_accuracy": _figure(found[kind, name, "balanced_accuracy"]),
                }
                for name, member in members.items()
            }
            for kind, members in groups.items()
        },
        "novelty": None if predictions.novelty is None else {"limit": FLAGGED, "flagged": _figure(found["flagged"])},
    }


def as_json(card: dict[str, Any]) -> str:
    """The card as it is kept: the same bytes for the same card."""
    return json.dumps(card, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def groups_of(examples: list[Example]) -> dict[str, dict[str, np.ndarray]]:
    """Members (N,) of the groups that have images, by age, sex and body site; those not known come last."""
    names = {
        "age": [_age_group(e.age) for e in examples],
        "sex": [e.sex or UNKNOWN for e in examples],
        "site": [e.site or UNKNOWN for e in examples],
    }
    in_order = {"age": [name for name, _ in AGES], "sex": sorted(set(names["sex"])), "site": sorted(set(names["site"]))}
    groups: dict[str, dict[str, np.ndarray]] = {}
    for kind, of_images in names.items():
        order = [name for name in in_order[kind] if name != UNKNOWN] + [UNKNOWN]
        groups[kind] = {name: np.array(of_images) == name for name in order if name in of_images}
    return groups


METRICS: dict[str, Callable] = {
    "accuracy": metrics.accuracy,
    "balanced_accuracy": metrics.balanced_accuracy,
    "macro_auroc": lambda *given: metrics.mean_of_known(_aurocs(*given)),
    "macro_f1": metrics.macro_f1,
    "expected_calibration_error": metrics.expected_calibration_error,
    "brier_score": metrics.brier_score,
    "log_loss": metrics.log_loss,
}
"""The figures of the whole set, from (probabilities, labels, weights)."""

READINGS: dict[str, Callable] = {
    **{f"specificity {s:.2f}": lambda curve, s=s: at_specificity(curve, s) for s in SPECIFICITIES},
    **{f"sensitivity {s:.2f}": lambda curve, s=s: at_sensitivity(curve, s) for s in SENSITIVITIES},
}
"""Where the melanoma curve is read, by the rule's name."""


def _figures(predictions: Predictions, groups: dict[str, dict[str, np.ndarray]]) -> Callable[[np.ndarray], Figures]:
    """All figures that have an interval, as a function of the weights (R, N) of the images."""
    probabilities, labels = predictions.probabilities, predictions.labels
    answers, malignant = probabilities.argmax(1), _is_malignant(labels)
    melanoma = list(CLASSES).index(MELANOMA)
    malignant_sum = malignant_scores(probabilities)

    def figures(weights: np.ndarray) -> Figures:
        found: Figures = {name: figure(probabilities, labels, weights) for name, figure in METRICS.items()}
        found["sensitivity"] = metrics.recalls(probabilities, labels, weights)
        found["precision"] = metrics.precisions(probabilities, labels, weights)
        found["auroc"] = _aurocs(probabilities, labels, weights)
        found["malignant auroc"] = area(roc(malignant_sum, malignant, weights))

        def add(name: str, rates: tuple) -> None:
            found[name, "sensitivity"], found[name, "specificity"] = rates

        add("melanoma argmax", metrics.rates(answers == melanoma, labels == melanoma, weights))
        curve = _melanoma_curve(predictions, weights)
        for rule, read in READINGS.items():
            point: Point = read(curve)
            add(rule, (point.sensitivity, point.specificity))
        add("malignant argmax", metrics.rates(_is_malignant(answers), malignant, weights))
        if predictions.malignant_threshold is not None:
            called = malignant_sum >= predictions.malignant_threshold
            add("malignant threshold", metrics.rates(called, malignant, weights))

        for kind, members in groups.items():
            for name, member in members.items():
                part = probabilities[member], labels[member], weights[:, member]
                found[kind, name, "accuracy"] = metrics.accuracy(*part)
                found[kind, name, "balanced_accuracy"] = metrics.balanced_accuracy(*part)
        if predictions.novelty is not None:
            found["flagged"] = metrics.ratio(weights @ (predictions.novelty > FLAGGED), weights.sum(-1))
        return found

    return figures


def malignant_scores(probabilities: np.ndarray) -> np.ndarray:
    """The summed probability (N,) of :data:`handler.contract.MALIGNANT`, added in float32 as in serving."""
    return probabilities[:, [list(CLASSES).index(c) for c in MALIGNANT]].sum(1).astype(float)


def _is_malignant(labels: np.ndarray) -> np.ndarray:
    return np.isin(labels, [list(CLASSES).index(c) for c in MALIGNANT])


def _melanoma_curve(predictions, weights=None):
    melanoma = list(CLASSES).index(MELANOMA)
    return roc(predictions.probabilities[:, melanoma], predictions.labels == melanoma, weights)


def _aurocs(probabilities, labels, weights=None):
    """AUROC of each class against the rest, (..., C)."""
    classes = range(probabilities.shape[1])
    return np.stack([area(roc(probabilities[:, c], labels == c, weights)) for c in classes], axis=-1)


def _age_group(age: float | None) -> str:
    return UNKNOWN if age is None else next(name for name, end in AGES if age < end)


def _reliability(predictions: Predictions) -> list[dict[str, Any]]:
    bins = zip(*metrics.reliability(predictions.probabilities, predictions.labels), strict=True)
    return [
        {
            "from": _number(b / metrics.BINS),
            "to": _number((b + 1) / metrics.BINS),
            "images": int(images),
            "confidence": _number(confidence),
            "accuracy": _number(accuracy),
        }
        for b, (images, confidence, accuracy) in enumerate(bins)
    ]


def _point(rule: str, found: dict, key: str, threshold: float = math.inf) -> dict[str, Any]:
    return {
        "rule": rule,
        "threshold": float(f"{threshold:.9g}") if math.isfinite(threshold) else None,
        "sensitivity": _figure(found[key, "sensitivity"]),
        "specificity": _figure(found[key, "specificity"]),
    }


def _figure(estimate: Estimate, index: Any = ()) -> dict[str, float | None]:
    return {key: _number(values[index]) for key, values in zip(Estimate._fields, estimate, strict=True)}


def _number(value: float) -> float | None:
    """Six decimals, more than any set of images can tell and fewer than two processors may differ in."""
    return None if math.isnan(value) else round(float(value), 6)
