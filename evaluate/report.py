"""The score card as Markdown and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from msgspec import UNSET
from sklearn.metrics import roc_curve

from api.classes import MALIGNANT, MELANOMA, class_indices
from evaluate.bootstrap import Estimate
from evaluate.comparison import Difference
from evaluate.metrics import BINS
from evaluate.predictions import Predictions
from evaluate.score_card import (
    MIN_GROUP_IMAGES,
    UNCHANGED,
    UNKNOWN,
    ArithmeticMetrics,
    Detection,
    DiseaseMetrics,
    Robustness,
    ScoreCard,
)
from evaluate.trade_off import MIN_ACCURACY, TradeOff

NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_auroc": "macro AUROC",
    "macro_f1": "macro F1",
    "expected_calibration_error": f"expected calibration error ({BINS} bins)",
    "brier_score": "Brier score (0–2)",
    "log_loss": "log loss",
}
OTHER_DISEASES = {
    "scc": "squamous cell carcinoma",
    "inf": "inflammatory",
    "ben_oth": "other benign",
    "mal_oth": "other malignant",
}
"""Names of MILK10k's diagnoses that the model does not know."""

RELIABILITY = "reliability.png"
ROC = "melanoma_roc.png"
PICTURES = {
    RELIABILITY: "Accuracy against confidence, and the images in each bin",
    ROC: "Sensitivity against false-positive rate for melanoma, with the operating points",
}
BLUE, GREY, ORANGE = "#1f5fa8", "#8a8a8a", "#d95f02"


def markdown(card: ScoreCard) -> str:
    """The card as Markdown, which embeds the pictures of :func:`draw`."""
    melanoma, malignant = card.melanoma, card.malignant
    sections = {
        "By class": _classes(card),
        "Confusion matrix": _confusion(card),
        "Melanoma": _operating_points(f"{melanoma.images} melanomas against the rest", melanoma),
        "Malignant": _operating_points(
            f"{malignant.images} images of {', '.join(MALIGNANT)}, by their summed probability", malignant
        ),
        "Diagnoses that cannot be excluded": _plausible(card),
        f"By {_listed(['body site' if kind == 'site' else kind for kind in card.groups])}": _groups(card),
        "Diseases that the model does not know": _other_diseases(card),
        "Bias of rare classes": trade_off_table(card.trade_off) if card.trade_off else "",
        "Robustness": robustness_table(card.robustness) if card.robustness else "",
        "Arithmetic": _arithmetics(card),
    }
    parts = [_summary(card), *(f"## {title}\n\n{text}" for title, text in sections.items() if text)]
    return "\n\n".join([*parts, *(f"![{text}]({name})" for name, text in PICTURES.items())]) + "\n"


def draw(predictions: Predictions, card: ScoreCard, folder: Path) -> None:
    """Write :data:`PICTURES` into ``folder``."""
    for name, figure in ((RELIABILITY, _reliability(card)), (ROC, _roc(predictions, card))):
        # Omitting matplotlib's version makes the file depend only on the values.
        figure.savefig(folder / name, dpi=100, metadata={"Software": None})


def _reliability(card: ScoreCard) -> Figure:
    figure = Figure(figsize=(5, 5.5), facecolor="white", layout="constrained")
    above, below = figure.subplots(nrows=2, sharex=True, height_ratios=[3, 1.2])
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    bins = [b for b in card.reliability if b.images]
    above.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="perfectly calibrated")
    above.plot([b.confidence for b in bins], [b.accuracy for b in bins], "o-", color=BLUE, label="model")
    error = _value(card.metrics.expected_calibration_error)
    above.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02), title=f"Reliability (calibration error {error})")
    above.legend(frameon=False, loc="lower right")
    bars = below.bar([b.start for b in bins], [b.images for b in bins], 1 / BINS, align="edge", color=BLUE)
    below.bar_label(bars, fontsize=7, padding=1)
    below.set(xlabel="confidence", ylabel="images")
    below.margins(y=0.2)
    return figure


def _roc(predictions: Predictions, card: ScoreCard) -> Figure:
    figure = Figure(figsize=(5, 5), facecolor="white", layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    (melanoma,) = class_indices([MELANOMA])
    positive = predictions.labels == melanoma
    if positive.any() and not positive.all():
        false_positives, sensitivity, _ = roc_curve(positive, predictions.probabilities[:, melanoma])
        axes.plot(false_positives, sensitivity, color=BLUE, label=f"AUROC {_with_interval(card.melanoma.auroc)}")
    for point, marker in zip(card.melanoma.operating_points, "sov^D<>P", strict=False):
        x, y = point.specificity.value, point.sensitivity.value
        if x is not None and y is not None:
            label = f"{point.rule}: sensitivity {y:.2f}, specificity {x:.2f}"
            axes.plot(1 - x, y, marker, color=ORANGE, label=label)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), title="Melanoma against the rest")
    axes.set(xlabel="false-positive rate (1 − specificity)", ylabel="sensitivity")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc="lower right", fontsize=8)
    return figure


def _summary(card: ScoreCard) -> str:
    intervals, reference = card.intervals, card.reference
    by = f" by {card.model.file} (SHA-256 {card.model.sha256}…)" if card.model else ""
    lesions = f" of {card.lesions} lesions" if card.lesions else ""
    sources = f" from {_listed(list(card.groups['source']))}" if "source" in card.groups else ""
    alone = card.images_without_lesion
    resampled = "lesions, each with all its images"
    if intervals.resampled == "images":
        resampled = "images, as their lesions are not known: too narrow if some show the same lesion"
    elif alone:
        resampled += f" ({alone} images without a known lesion count as one lesion each)"
    rows = [
        [name, _value(estimate), _interval(estimate), _show(getattr(reference, key, None), "")]
        for key, name in NAMES.items()
        for estimate in [getattr(card.metrics, key)]
    ]
    parts = [
        f"{card.images} images{lesions}{sources}, one forward pass each{by}, compared with always answering the most "
        f"frequent class ({reference.dx}). Intervals are {100 * intervals.level:g} %, by a percentile bootstrap "
        f"({intervals.resamples} resamples) over {resampled}.",
        _table(["", "model", "interval", "most frequent class"], rows),
        # A resample holds copies, which scatter a bin's accuracy more than as many different images do.
        "Resampling itself increases the calibration error, so its interval is too high.",
    ]
    if card.novelty:
        share = card.novelty.flagged
        parts.append(f"Flagged as unlike the training images: {_value(share)} ({_interval(share)}) of the images.")
    return "\n\n".join(parts)


def _classes(card: ScoreCard) -> str:
    rows = ([name, c.images, *_with_intervals(c.sensitivity, c.ppv, c.auroc)] for name, c in card.classes.items())
    note = "A value of exactly 0 or 1 has an interval without width: judge it by the number of images."
    return _table(["class", "images", "sensitivity", "PPV", "AUROC"], rows) + f"\n\n{note}"


def _confusion(card: ScoreCard) -> str:
    rows = ([f"true {name}", *counts] for name, counts in zip(card.classes, card.confusion, strict=True))
    return _table(["", *card.classes], rows)


def _operating_points(what: str, detection: Detection) -> str:
    rows = (
        [p.rule, _show(p.threshold, digits=4), *_with_intervals(p.sensitivity, p.specificity)]
        for p in detection.operating_points
    )
    parts = [
        f"{what}: AUROC {_with_interval(detection.auroc)}.",
        _table(["rule", "threshold", "sensitivity", "specificity"], rows),
        "Thresholds at a fixed rate were read off these images; they may not transfer to others.",
    ]
    return "\n\n".join(parts)


def _plausible(card: ScoreCard) -> str:
    sets = card.plausible
    if sets is None:
        return ""
    rows = [["all", card.images, *_with_intervals(sets.coverage, sets.size)]]
    rows += [[name, c.images, *_with_intervals(c.coverage, c.size)] for name, c in sets.classes.items()]
    text = (
        f"An image's set holds the diagnoses with a probability of at least {sets.threshold:.4f}, and always the "
        f"most probable one. The threshold was fitted so that the sets of {100 * sets.target:g} % of the held-out "
        "images hold the true diagnosis: on average over all images, not for each class. Coverage is the share of "
        "these images whose set does, size the mean number of diagnoses in a set."
    )
    return f"{text}\n\n" + _table(["class", "images", "coverage", "size"], rows)


def _groups(card: ScoreCard) -> str:
    parts = [
        "The groups have different diagnoses, which alone makes their metrics differ. Few means fewer than "
        f"{MIN_GROUP_IMAGES} images, too few to judge such a group."
    ]
    for kind, groups in card.groups.items():
        if set(groups) != {UNKNOWN}:
            rows = (
                [name, _images(group.images), group.classes, *_with_intervals(group.accuracy, group.balanced_accuracy)]
                for name, group in groups.items()
            )
            parts.append(_table([kind, "images", "classes", "accuracy", "balanced accuracy"], rows))
    return "\n\n".join(parts) if len(parts) > 1 else ""


def _other_diseases(card: ScoreCard) -> str:
    if card.other_diseases is UNSET:
        return ""
    diseases: dict[str, DiseaseMetrics] = {}
    for dx, disease in card.other_diseases.items():
        name = f"{OTHER_DISEASES[dx]} ({dx})" if dx in OTHER_DISEASES else dx
        diseases |= {name: disease} | {f"{dx}, {source}": part for source, part in disease.sources.items()}
    flags = (
        [name, _images(d.images), *_with_intervals(d.malignant_flag, d.novelty_flag, d.set_size)]
        for name, d in diseases.items()
    )
    diagnoses = ([name, *_with_intervals(*d.diagnoses.values())] for name, d in diseases.items())
    images = sum(disease.images for disease in card.other_diseases.values())
    parts = [
        f"{images} photographs of diseases that are none of its classes, so that no diagnosis it gives is right. "
        "Shares of each disease's images with the malignant flag and with the out-of-distribution flag, and the "
        "mean number of diagnoses that cannot be excluded. Intervals are over the images of each disease.",
        _table(["disease", "images", "malignant", "out of distribution", "diagnoses not excluded"], flags),
        "Shares of the diagnoses given (the most probable class):",
        _table(["disease", *card.classes], diagnoses),
    ]
    return "\n\n".join(parts)


def _arithmetics(card: ScoreCard) -> str:
    if not card.arithmetics:
        return ""
    keys = [key for key in ArithmeticMetrics.__struct_fields__ if key != "name"]
    rows = ([a.name, *(_show(getattr(a, key)) for key in keys)] for a in card.arithmetics)
    text = (
        "All other metrics are of float32. A CPU that has bfloat16 instructions predicts in bfloat16; int8 serves "
        "LIME's perturbations only. The last three columns compare with float32."
    )
    return f"{text}\n\n" + _table(["", *(NAMES.get(key, key.replace("_", " ")) for key in keys)], rows)


def robustness_table(robustness: Robustness) -> str:
    """The table of shifts as Markdown."""
    parts = [
        "Changes that do not alter the diagnosis, made to the photographs before they are classified in "
        f"{robustness.arithmetic}. The differences are from the unchanged photographs, with paired intervals. The "
        "validation images chose the epoch and the calibration; recipes are compared by them, not by the test images.",
    ]
    for name, shifts in robustness.sets.items():
        part, comma, where = name.partition(",")
        images = f"{robustness.images[name]} {part} images{comma}{where}"
        rows = (
            [
                shift.shift,
                _value(shift.accuracy),
                "" if shift.shift == UNCHANGED else _signed(shift.accuracy_change),
                _value(shift.balanced_accuracy),
                "" if shift.shift == UNCHANGED else _signed(shift.balanced_accuracy_change),
                _value(shift.agreement),
            ]
            for shift in shifts
        )
        parts.append(_table([images, "accuracy", "difference", "balanced accuracy", "difference", "same answer"], rows))
    return "\n\n".join(parts)


def comparison_table(differences: list[Difference], images: int) -> str:
    """The comparison of two models as Markdown."""
    rows = (
        [NAMES.get(d.name, d.name.replace("_", " ")), _value(d.first), _value(d.second), _signed(d.change)]
        for d in differences
    )
    return _table([f"{images} answers", "first", "second", "difference"], rows)


def trade_off_table(curve: TradeOff) -> str:
    """The trade-off curve as Markdown."""
    head = ["strength", "held-out accuracy", "held-out balanced accuracy"]
    criterion = f"balanced accuracy on the held-out images with an accuracy of at least {MIN_ACCURACY:.2f}"
    if curve.points[0].elsewhere:
        head += ["held-out accuracy elsewhere", "held-out balanced accuracy elsewhere"]
        criterion = (
            "mean of the balanced accuracies on held-out images of HAM10000 and of other sources (elsewhere) with an "
            f"accuracy of at least {MIN_ACCURACY:.2f} on HAM10000's"
        )
    if curve.points[0].evaluated:
        head += ["accuracy", "balanced accuracy", "calibration error", "flag: sensitivity", "flag: specificity"]
    rows = []
    for point in curve.points:
        strength, evaluated = point.setting.strength, point.evaluated
        cells = [f"{strength:g}" + " (own)" * (strength == curve.own) + " (chosen)" * (strength == curve.best)]
        for held_out in filter(None, (point.held_out, point.elsewhere)):
            cells += [_value(held_out.accuracy), _value(held_out.balanced_accuracy)]
        if evaluated:
            cells += _with_intervals(evaluated.accuracy, evaluated.balanced_accuracy)
            cells += [_value(evaluated.expected_calibration_error)]
            cells += [_value(evaluated.flag_sensitivity), _value(evaluated.flag_specificity)]
        rows.append(cells)
    text = (
        "A bias of the classes' logits, proportional to the logarithm of their rarity, trades accuracy for balanced "
        f"accuracy. Temperature and thresholds of each strength were fitted to {curve.images} held-out images "
        f"({curve.answers}). The model's own strength is {curve.own:g}; {curve.best:g} has the best {criterion}. "
        "`MLBIO_BIAS_STRENGTH` moves the service along this curve."
    )
    return f"{text}\n\n" + _table(head, rows)


def _images(count: int) -> str:
    return f"{count} (few)" if count < MIN_GROUP_IMAGES else str(count)


def _listed(names: list[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _table(head: list[str], rows: Iterable[Sequence[Any]]) -> str:
    def line(cells: Iterable[Any]) -> str:
        texts = (" ".join(str(c).split()).replace("|", "\\|") for c in cells)
        return "|" + "|".join(f" {text} " if text else " " for text in texts) + "|"

    return "\n".join([line(head), line(["---"] * len(head)), *map(line, rows)])


def _show(value: float | None, absent: str = "–", digits: int = 3) -> str:
    return absent if value is None else f"{value:.{digits}f}"


def _value(estimate: Estimate) -> str:
    return _show(estimate.value)


def _interval(estimate: Estimate) -> str:
    return "–" if estimate.low is None else f"{_show(estimate.low)}–{_show(estimate.high)}"


def _with_interval(estimate: Estimate | None) -> str:
    return "–" if estimate is None or estimate.value is None else f"{_value(estimate)} ({_interval(estimate)})"


def _with_intervals(*estimates: Estimate | None) -> list[str]:
    return [_with_interval(estimate) for estimate in estimates]


def _signed(estimate: Estimate) -> str:
    return "–" if estimate.value is None else f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"
