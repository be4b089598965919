"""The score card as Markdown and three pictures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from msgspec import UNSET

from evaluate.arithmetic import ArithmeticFigures
from evaluate.comparison import Difference
from evaluate.figures import Figure
from evaluate.metrics import BINS
from evaluate.other_diseases import DiseaseFigures
from evaluate.predictions import Predictions
from evaluate.robustness import Robustness
from evaluate.score_card import (
    MIN_GROUP_IMAGES,
    UNKNOWN,
    Malignant,
    Melanoma,
    ScoreCard,
    melanoma_curve,
)
from evaluate.shifts import UNCHANGED
from evaluate.trade_off import LEAST_ACCURACY, BiasFigures, TradeOff

NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_auroc": "macro AUROC",
    "macro_f1": "macro F1",
    "expected_calibration_error": f"expected calibration error ({BINS} bins)",
    "brier_score": "Brier score (0–2)",
    "log_loss": "log loss",
}
PICTURES = {
    "reliability.png": "Accuracy against confidence, and the images in each bin",
    "confusion.png": "Shares and counts of the answers to each true class",
    "melanoma_roc.png": "Sensitivity against false alarms for melanoma, with the operating points",
}
OTHER_DISEASES = {
    "scc": "squamous cell carcinoma",
    "inf": "inflammatory",
    "ben_oth": "other benign",
    "mal_oth": "other malignant",
}
"""Names of MILK10k's diagnoses that the model does not know."""

TRADE_OFF_PICTURE, TRADE_OFF_TEXT = "trade_off.png", "Balanced accuracy against accuracy, by the strength of the bias"
"""Only of a card that has the curve."""

BLUE, ORANGE, GREY = "#1f5fa8", "#c8501e", "#8a8a8a"


def markdown(card: ScoreCard) -> str:
    """The card as Markdown, which embeds the pictures of :func:`draw`."""
    malignant = ", ".join(card.malignant.classes)
    sections = [
        _summary(card),
        _classes(card),
        _confusion(card),
        _operating_points("Melanoma", f"{card.melanoma.images} melanomas against the rest", card.melanoma),
        _operating_points(
            "Malignant",
            f"{card.malignant.images} images of {malignant}, by their summed probability",
            card.malignant,
        ),
        _plausible(card),
        _groups(card),
        _other_diseases(card),
        _trade_off(card),
        f"![{TRADE_OFF_TEXT}]({TRADE_OFF_PICTURE})" if card.trade_off else "",
        _robustness(card),
        _arithmetics(card),
        "\n\n".join(f"![{text}]({name})" for name, text in PICTURES.items()),
    ]
    return "\n\n".join(s for s in sections if s) + "\n"


def draw(predictions: Predictions, card: ScoreCard, folder: Path) -> None:
    """Write the pictures of :data:`PICTURES` into ``folder``."""
    pictures = _reliability_picture(card), _confusion_picture(card), _roc_picture(predictions, card)
    for name, picture in zip(PICTURES, pictures, strict=True):
        # Without matplotlib's version in it, the file depends on the figures alone.
        picture.savefig(folder / name, dpi=100, metadata={"Software": None})
    if card.trade_off:
        picture = _trade_off_picture(card.trade_off)
        picture.savefig(folder / TRADE_OFF_PICTURE, dpi=100, metadata={"Software": None})


def _summary(card: ScoreCard) -> str:
    intervals, reference = card.intervals, card.reference
    by = f" by {card.model.file} (SHA-256 {card.model.sha256}…)" if card.model else ""
    lesions = f" of {card.lesions} lesions" if card.lesions else ""
    sources = f" from {_listed(list(card.groups['source']))}" if "source" in card.groups else ""
    rows = [
        [name, _value(figure), _interval(figure), _show(getattr(reference, key, None), "")]
        for key, name in NAMES.items()
        for figure in [getattr(card.metrics, key)]
    ]
    lines = [
        f"{card.images} images{lesions}{sources}, one forward pass each{by}, compared with always answering the most "
        f"frequent class ({reference.dx}). Intervals are {100 * intervals.level:g} %, by a percentile bootstrap "
        f"({intervals.resamples} resamples) over {_resampled(card)}.",
        "",
        *_table(["", "model", "interval", "most frequent class"], rows),
        "",
        # A resample holds copies, which scatter a bin's accuracy more than as many different images do.
        "Resampling itself increases the calibration error, so its interval is too high.",
    ]
    if card.novelty:
        share = card.novelty.flagged
        lines += ["", f"Flagged as unlike the training images: {_value(share)} ({_interval(share)}) of the images."]
    return "\n".join(lines)


def _resampled(card: ScoreCard) -> str:
    if card.intervals.resampled == "images":
        return "images, as their lesions are not known: too narrow if some show the same lesion"
    alone = card.images_without_lesion
    return "lesions, each with all its images" + (
        f" ({alone} images without a known lesion count as one lesion each)" if alone else ""
    )


def _classes(card: ScoreCard) -> str:
    rows = (
        [name, c.images, *(_with_interval(f) for f in (c.sensitivity, c.precision, c.auroc))]
        for name, c in card.classes.items()
    )
    note = "A figure of exactly 0 or 1 has an interval without width: judge it by the number of images."
    table = _table(["class", "images", "sensitivity", "precision", "AUROC"], rows)
    return "\n".join(["## By class", "", *table, "", note])


def _confusion(card: ScoreCard) -> str:
    rows = ([f"true {name}", *counts] for name, counts in zip(card.classes, card.confusion, strict=True))
    return "\n".join(["## Answers", "", *_table(["", *card.classes], rows)])


def _operating_points(title: str, what: str, part: Melanoma | Malignant) -> str:
    rows = (
        [p.rule, _show(p.threshold, digits=4), _with_interval(p.sensitivity), _with_interval(p.specificity)]
        for p in part.operating_points
    )
    lines = [
        f"## {title}",
        "",
        f"{what}: AUROC {_with_interval(part.auroc)}.",
        "",
        *_table(["rule", "threshold", "sensitivity", "specificity"], rows),
        "",
        "Thresholds at a fixed rate were read off these images; they may not transfer to others.",
    ]
    return "\n".join(lines)


def _plausible(card: ScoreCard) -> str:
    part = card.plausible
    if part is None:
        return ""
    rows: list[list[Any]] = [["all", card.images, _with_interval(part.coverage), _with_interval(part.size)]]
    rows += [[name, c.images, _with_interval(c.coverage), _with_interval(c.size)] for name, c in part.classes.items()]
    return "\n".join(
        [
            "## Diagnoses that cannot be excluded",
            "",
            f"An image's set holds the diagnoses with a probability of at least {part.threshold:.4f}, and always the "
            f"most probable one. The threshold was fitted so that the sets of {100 * part.target:g} % of the held-out "
            "images hold the true diagnosis: on average over all images, not for each class. Coverage is the share of "
            "these images whose set does, size the mean number of diagnoses in a set.",
            "",
            *_table(["class", "images", "coverage", "size"], rows),
        ]
    )


def _arithmetics(card: ScoreCard) -> str:
    if not card.arithmetics:
        return ""
    keys = [key for key in ArithmeticFigures.__struct_fields__ if key != "name"]
    rows = ([a.name, *(_show(getattr(a, key)) for key in keys)] for a in card.arithmetics)
    return "\n".join(
        [
            "## Arithmetic",
            "",
            "All other figures are of float32. A CPU that has bfloat16 instructions answers in bfloat16; int8 serves "
            "LIME's perturbations only. The last three columns compare with float32.",
            "",
            *_table(["", *(NAMES.get(key, key.replace("_", " ")) for key in keys)], rows),
        ]
    )


def robustness_table(robustness: Robustness) -> str:
    """The table of shifts as Markdown."""
    lines = [
        "Changes that do not alter the diagnosis, made to the photographs before they are classified in "
        f"{robustness.arithmetic}. The differences are from the unchanged photographs, with paired intervals. The "
        "validation images chose the epoch and the calibration; recipes are compared by them, not by the test images.",
    ]
    for name, rows in robustness.sets.items():
        part, comma, where = name.partition(",")
        head = [
            f"{robustness.images[name]} {part} images{comma}{where}",
            "accuracy",
            "difference",
            "balanced accuracy",
            "difference",
            "same answer",
        ]
        cells = (
            [
                row.shift,
                _value(row.accuracy),
                "" if row.shift == UNCHANGED else _signed(row.accuracy_change),
                _value(row.balanced_accuracy),
                "" if row.shift == UNCHANGED else _signed(row.balanced_accuracy_change),
                _value(row.agreement),
            ]
            for row in rows
        )
        lines += ["", *_table(head, cells)]
    return "\n".join(lines)


def comparison_table(differences: list[Difference], images: int) -> str:
    """Two models side by side as Markdown."""
    rows = (
        [NAMES.get(d.name, d.name.replace("_", " ")), _value(d.first), _value(d.second), _signed(d.change)]
        for d in differences
    )
    return "\n".join(_table([f"{images} answers", "first", "second", "difference"], rows))


def trade_off_table(curve: TradeOff) -> str:
    """The trade-off curve as Markdown."""
    rows = []
    for point in curve.points:
        strength, held_out, evaluated = point.setting.strength, point.held_out, point.evaluated
        notes = ["own"] * (strength == curve.own) + ["chosen"] * (strength == curve.best)
        cells: list[Any] = [" ".join([f"{strength:g}", *(f"({note})" for note in notes)])]
        cells += [_value(held_out.accuracy), _value(held_out.balanced_accuracy)]
        if point.elsewhere:
            cells += [_value(point.elsewhere.accuracy), _value(point.elsewhere.balanced_accuracy)]
        if evaluated:
            cells += [_with_interval(evaluated.accuracy), _with_interval(evaluated.balanced_accuracy)]
            cells += [_value(evaluated.expected_calibration_error)]
            cells += [_value(evaluated.flag_sensitivity), _value(evaluated.flag_specificity)]
        rows.append(cells)
    head = ["strength", "held-out accuracy", "held-out balanced accuracy"]
    criterion = f"balanced accuracy on the held-out images with an accuracy of at least {LEAST_ACCURACY:.2f}"
    if curve.points[0].elsewhere:
        head += ["held-out accuracy elsewhere", "held-out balanced accuracy elsewhere"]
        criterion = (
            "mean of the balanced accuracies on held-out images of HAM10000 and of other sources (elsewhere) with an "
            f"accuracy of at least {LEAST_ACCURACY:.2f} on HAM10000's"
        )
    if curve.points[0].evaluated:
        head += ["accuracy", "balanced accuracy", "calibration error", "flag: sensitivity", "flag: specificity"]
    lines = [
        "A bias of the classes' logits, proportional to the logarithm of their rarity, trades accuracy for balanced "
        f"accuracy. Temperature and thresholds of each strength were fitted to {curve.images} held-out images "
        f"({curve.answers}). The model's own strength is {curve.own:g}; {curve.best:g} has the best {criterion}. "
        "`MLBIO_BIAS_STRENGTH` moves the service along this curve.",
        "",
        *_table(head, rows),
    ]
    return "\n".join(lines)


def _trade_off(card: ScoreCard) -> str:
    return f"## Bias of rare classes\n\n{trade_off_table(card.trade_off)}" if card.trade_off else ""


def _robustness(card: ScoreCard) -> str:
    return f"## Robustness\n\n{robustness_table(card.robustness)}" if card.robustness else ""


def _groups(card: ScoreCard) -> str:
    lines: list[str] = []
    for kind, groups in card.groups.items():
        if set(groups) == {UNKNOWN}:
            continue
        rows = (
            [
                name,
                _images(group.images),
                group.classes,
                _with_interval(group.accuracy),
                _with_interval(group.balanced_accuracy),
            ]
            for name, group in groups.items()
        )
        lines += ["", *_table([kind, "images", "classes", "accuracy", "balanced accuracy"], rows)]
    if not lines:
        return ""
    note = (
        "The groups have different diagnoses, which alone makes their figures differ. Few means fewer than "
        f"{MIN_GROUP_IMAGES} images, too few to judge such a group."
    )
    kinds = ["body site" if kind == "site" else kind for kind in card.groups]
    return "\n".join([f"## By {_listed(kinds)}", "", note, *lines])


def _other_diseases(card: ScoreCard) -> str:
    if card.other_diseases is UNSET:
        return ""
    rows: dict[str, DiseaseFigures] = {}
    for dx, disease in card.other_diseases.items():
        name = f"{OTHER_DISEASES[dx]} ({dx})" if dx in OTHER_DISEASES else dx
        rows |= {name: disease} | {f"{dx}, {source}": part for source, part in disease.sources.items()}
    flags = (
        [name, _images(d.images), *map(_with_interval, (d.malignant_flag, d.novelty_flag, d.set_size))]
        for name, d in rows.items()
    )
    diagnoses = ([name, *map(_with_interval, d.diagnoses.values())] for name, d in rows.items())
    images = sum(disease.images for disease in card.other_diseases.values())
    return "\n".join(
        [
            "## Diseases that the model does not know",
            "",
            f"{images} photographs of diseases that are none of its classes, so that no diagnosis it gives is right. "
            "Shares of each disease's images with the malignant flag and with the out-of-distribution flag, and the "
            "mean number of diagnoses that cannot be excluded. Intervals are over the images of each disease.",
            "",
            *_table(["disease", "images", "malignant", "out of distribution", "diagnoses not excluded"], flags),
            "",
            "Shares of the diagnoses given (the most probable class):",
            "",
            *_table(["disease", *card.classes], diagnoses),
        ]
    )


def _images(count: int) -> str:
    return f"{count} (few)" if count < MIN_GROUP_IMAGES else str(count)


def _listed(names: list[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _table(head: list[str], rows: Iterable[list[Any]]) -> list[str]:
    def line(cells: Iterable[Any]) -> str:
        texts = (" ".join(str(c).split()).replace("|", "\\|") for c in cells)
        return "|" + "|".join(f" {text} " if text else " " for text in texts) + "|"

    return [line(head), line(["---"] * len(head)), *map(line, rows)]


def _show(value: float | None, absent: str = "–", digits: int = 3) -> str:
    return absent if value is None else f"{value:.{digits}f}"


def _value(figure: Figure) -> str:
    return _show(figure.value)


def _interval(figure: Figure) -> str:
    return "–" if figure.low is None else f"{_show(figure.low)}–{_show(figure.high)}"


def _with_interval(figure: Figure | None) -> str:
    return "–" if figure is None or figure.value is None else f"{_value(figure)} ({_interval(figure)})"


def _signed(figure: Figure) -> str:
    return "–" if figure.value is None else f"{figure.value:+.3f} ({figure.low:+.3f} to {figure.high:+.3f})"


def _canvas(width: float, height: float, **grid: Any) -> tuple[Canvas, Any]:
    canvas = Canvas(figsize=(width, height), facecolor="white", layout="constrained")
    return canvas, canvas.subplots(**grid)


def _without_frame(axes: Axes) -> Axes:
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _reliability_picture(card: ScoreCard) -> Canvas:
    canvas, (above, below) = _canvas(5, 5.5, nrows=2, sharex=True, height_ratios=[3, 1.2])
    bins = [b for b in card.reliability if b.images]
    _without_frame(above).plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="as confident as right")
    above.plot([b.confidence for b in bins], [b.accuracy for b in bins], "o-", color=BLUE, label="model")
    error = _value(card.metrics.expected_calibration_error)
    above.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02), title=f"Reliability (calibration error {error})")
    above.legend(frameon=False, loc="lower right")
    starts, images = [b.start or 0.0 for b in bins], [b.images for b in bins]
    bars = _without_frame(below).bar(starts, images, 1 / BINS, align="edge", color=BLUE)
    below.bar_label(bars, fontsize=7, padding=1)
    below.set(xlabel="confidence", ylabel="images")
    below.margins(y=0.2)
    return canvas


def _confusion_picture(card: ScoreCard) -> Canvas:
    canvas, axes = _canvas(5.5, 5)
    counts, names = np.array(card.confusion), list(card.classes)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        text = f"{shares[row, column]:.2f}\n{count}" if counts[row].any() else "–"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="answered", ylabel="true class", title="Share of the true class, and images")
    return canvas


def _roc_picture(predictions: Predictions, card: ScoreCard) -> Canvas:
    canvas, axes = _canvas(5, 5)
    curve = melanoma_curve(predictions)
    label = f"AUROC {_with_interval(card.melanoma.auroc)}"
    _without_frame(axes).plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    axes.plot(1 - curve.specificity, curve.sensitivity, color=BLUE, label=label)
    markers = iter("sov^D<>P")
    for point in card.melanoma.operating_points:
        sensitivity, specificity = point.sensitivity.value, point.specificity.value
        if sensitivity is not None and specificity is not None:
            label = f"{point.rule}: sens. {sensitivity:.2f}, spec. {specificity:.2f}"
            axes.plot(1 - specificity, sensitivity, next(markers), color=ORANGE, label=label)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), title="Melanoma against the rest")
    axes.set(xlabel="false alarms (1 − specificity)", ylabel="sensitivity")
    axes.legend(frameon=False, loc="lower right", fontsize=8)
    return canvas


def _trade_off_picture(curve: TradeOff) -> Canvas:
    canvas, axes = _canvas(5, 4)
    sets: dict[str, list[BiasFigures | None]] = {
        "held-out images": [p.held_out for p in curve.points],
        "these images": [p.evaluated for p in curve.points],
    }
    _without_frame(axes).axvline(LEAST_ACCURACY, color=GREY, linestyle="--", linewidth=1)
    for (name, figures), colour in zip(sets.items(), (GREY, BLUE), strict=True):
        known = [(p.setting.strength, f) for p, f in zip(curve.points, figures, strict=True) if f]
        places = [(f.accuracy.value or 0.0, f.balanced_accuracy.value or 0.0) for _, f in known]
        across, up = [x for x, _ in places], [y for _, y in places]
        axes.plot(across, up, "o-", color=colour, label=name, markersize=4)
        for (strength, _), place in zip(known, places, strict=True):
            if strength in (0, curve.own, curve.best, 1):
                axes.annotate(f"{strength:g}", place, xytext=(4, 4), textcoords="offset points", fontsize=8)
    axes.set(xlabel="accuracy", ylabel="balanced accuracy", title="Bias of rare classes, by strength")
    axes.legend(frameon=False, loc="lower left")
    return canvas
