"""A score card for people: Markdown, and three pictures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from handler.contract import CLASSES
from train.predictions import Predictions
from train.roc import roc
from train.score_card import FEW, MELANOMA, UNKNOWN

NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_auroc": "macro AUROC",
    "macro_f1": "macro F1",
    "expected_calibration_error": "expected calibration error (15 bins)",
    "brier_score": "Brier score (0–2)",
    "log_loss": "log loss",
}
PICTURES = {
    "reliability.png": "Accuracy against confidence, and the images in each bin",
    "confusion.png": "Shares and counts of the answers to each true class",
    "melanoma_roc.png": "Sensitivity against false alarms for melanoma, with the operating points",
}
BLUE, ORANGE, GREY = "#1f5fa8", "#c8501e", "#8a8a8a"


def markdown(card: dict[str, Any]) -> str:
    """The card of :func:`train.score_card.score_card` as Markdown, which embeds the pictures of :func:`draw`."""
    sections = [
        _summary(card),
        _classes(card),
        _confusion(card),
        _points("Melanoma", f"{card['melanoma']['images']} melanomas against the rest", card["melanoma"]),
        _points(
            "Malignant",
            f"{card['malignant']['images']} images of {', '.join(card['malignant']['classes'])}, by their summed "
            "probability",
            card["malignant"],
        ),
        _groups(card),
        "\n\n".join(f"![{text}]({name})" for name, text in PICTURES.items()),
    ]
    return "\n\n".join(s for s in sections if s) + "\n"


def draw(predictions: Predictions, card: dict[str, Any], folder: Path) -> None:
    """Write the pictures of :data:`PICTURES` into ``folder``."""
    for name, picture in zip(
        PICTURES, (_reliability_picture(card), _confusion_picture(card), _roc_picture(predictions, card)), strict=True
    ):
        # Without matplotlib's version in it, the file depends on the figures alone.
        picture.savefig(folder / name, dpi=100, metadata={"Software": None})


def _summary(card):
    model, intervals, reference = card["model"], card["intervals"], card["reference"]
    by = f" by {model['file']} (SHA-256 {model['sha256']}…)" if model else ""
    over = "lesions, each with all its images"
    if intervals["resampled"] == "images":
        over = "images, as their lesions are not known: too narrow if some show the same lesion"
    elif card["images_without_lesion"]:
        over += f" ({card['images_without_lesion']} images without a known lesion count as one each)"
    lesions = f" of {card['lesions']} lesions" if card["lesions"] else ""
    lines = [
        f"{card['images']} images{lesions}, one forward pass each{by}, against always answering the commonest class "
        f"({reference['class']}). Intervals are {100 * intervals['level']:g} %, by a percentile bootstrap "
        f"({intervals['resamples']} resamples) over {over}.",
        "",
        *_table(
            ["", "model", "interval", "commonest class"],
            (
                [name, _value(card["metrics"][key]), _interval(card["metrics"][key]), _show(reference.get(key), "")]
                for key, name in NAMES.items()
            ),
        ),
    ]
    # A resample holds copies, which scatter a bin's accuracy more than as many different images do.
    lines += ["", "Resampling itself adds to the calibration error: its interval lies high."]
    if card["novelty"]:
        share = card["novelty"]["flagged"]
        lines += ["", f"Flagged as unlike the training images: {_value(share)} ({_interval(share)}) of the images."]
    return "\n".join(lines)


def _classes(card):
    columns = ("sensitivity", "precision", "auroc")
    rows = ([name, c["images"], *(_with_interval(c[k]) for k in columns)] for name, c in card["classes"].items())
    note = "A figure of exactly 0 or 1 has no width, as a bootstrap only knows what it has seen: count the images."
    table = _table(["class", "images", "sensitivity", "precision", "AUROC"], rows)
    return "\n".join(["## By class", "", *table, "", note])


def _confusion(card):
    rows = ([f"true {name}", *counts] for name, counts in zip(card["classes"], card["confusion"], strict=True))
    return "\n".join(["## Answers", "", *_table(["", *card["classes"]], rows)])


def _points(title, what, part):
    rows = (
        [p["rule"], _show(p["threshold"], digits=4), _with_interval(p["sensitivity"]), _with_interval(p["specificity"])]
        for p in part["operating_points"]
    )
    lines = [
        f"## {title}",
        "",
        f"{what}: AUROC {_with_interval(part['auroc'])}.",
        "",
        *_table(["rule", "threshold", "sensitivity", "specificity"], rows),
    ]
    if any(p["rule"].startswith("specificity") for p in part["operating_points"]):
        lines += ["", "Thresholds at a fixed rate are read off these images, so they are no advice for others."]
    return "\n".join(lines)


def _groups(card):
    lines = []
    for kind, groups in card["groups"].items():
        if set(groups) == {UNKNOWN}:
            continue
        rows = (
            [
                name,
                f"{g['images']} (few)" if g["few"] else g["images"],
                g["classes"],
                _with_interval(g["accuracy"]),
                _with_interval(g["balanced_accuracy"]),
            ]
            for name, g in groups.items()
        )
        lines += ["", *_table([kind, "images", "classes", "accuracy", "balanced accuracy"], rows)]
    if not lines:
        return ""
    note = (
        f"Groups differ in their diagnoses, so their figures differ for that alone. Few is fewer than {FEW} images: "
        "nothing can be said of such a group, whatever its interval."
    )
    return "\n".join(["## By age, sex and body site", "", note, *lines])


def _table(head: list[str], rows: Iterable[list[Any]]) -> list[str]:
    def line(cells: Iterable[Any]) -> str:
        texts = (" ".join(str(c).split()).replace("|", "\\|") for c in cells)
        return "|" + "|".join(f" {text} " if text else " " for text in texts) + "|"

    return [line(head), line(["---"] * len(head)), *map(line, rows)]


def _show(value, absent="–", digits=3):
    return absent if value is None else f"{value:.{digits}f}"


def _value(figure):
    return _show(figure["value"])


def _interval(figure):
    return "–" if figure["low"] is None else f"{_show(figure['low'])}–{_show(figure['high'])}"


def _with_interval(figure):
    return "–" if figure["value"] is None else f"{_value(figure)} ({_interval(figure)})"


def _figure(width: float, height: float, **grid) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    return figure, figure.subplots(**grid)


def _plain(axes: Axes) -> Axes:
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _reliability_picture(card: dict[str, Any]) -> Figure:
    figure, (above, below) = _figure(5, 5.5, nrows=2, sharex=True, height_ratios=[3, 1.2])
    bins = [b for b in card["reliability"] if b["images"]]
    _plain(above).plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="as confident as right")
    above.plot([b["confidence"] for b in bins], [b["accuracy"] for b in bins], "o-", color=BLUE, label="model")
    error = card["metrics"]["expected_calibration_error"]
    above.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02), title=f"Reliability (calibration error {_value(error)})")
    above.legend(frameon=False, loc="lower right")
    width = card["reliability"][0]["to"]
    bars = _plain(below).bar([b["from"] for b in bins], [b["images"] for b in bins], width, align="edge", color=BLUE)
    below.bar_label(bars, fontsize=7, padding=1)
    below.set(xlabel="confidence", ylabel="images")
    below.margins(y=0.2)
    return figure


def _confusion_picture(card: dict[str, Any]) -> Figure:
    figure, axes = _figure(5.5, 5)
    counts, names = np.array(card["confusion"]), list(card["classes"])
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        text = f"{shares[row, column]:.2f}\n{count}" if counts[row].any() else "–"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="answered", ylabel="true class", title="Share of the true class, and images")
    return figure


def _roc_picture(predictions: Predictions, card: dict[str, Any]) -> Figure:
    figure, axes = _figure(5, 5)
    part, melanoma = card["melanoma"], list(CLASSES).index(MELANOMA)
    curve = roc(predictions.probabilities[:, melanoma], predictions.labels == melanoma)
    _plain(axes).plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    axes.plot(1 - curve.specificity, curve.sensitivity, color=BLUE, label=f"AUROC {_with_interval(part['auroc'])}")
    markers = iter("sov^D<>P")
    for point in part["operating_points"]:
        sensitivity, specificity = point["sensitivity"]["value"], point["specificity"]["value"]
        if sensitivity is not None and specificity is not None:
            label = f"{point['rule']}: sens. {sensitivity:.2f}, spec. {specificity:.2f}"
            axes.plot(1 - specificity, sensitivity, next(markers), color=ORANGE, label=label)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), title="Melanoma against the rest")
    axes.set(xlabel="false alarms (1 − specificity)", ylabel="sensitivity")
    axes.legend(frameon=False, loc="lower right", fontsize=8)
    return figure
