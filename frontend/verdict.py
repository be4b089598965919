"""The verdict on a photograph as HTML: malignant or not, then the diagnosis.

It needs :data:`frontend.style.VIEW_STYLE`.
"""

from __future__ import annotations

import math
from html import escape

from api.answer import Malignant, Prediction
from api.classes import CLASSES, MALIGNANT
from frontend.i18n import _, percent

FAR_BELOW, ABOVE, FAR_ABOVE = -1.5, 1.0, 2.5
"""Bounds of the grades, as differences in log-odds from the threshold: 2.3 %, 22 % and 56 % if that is 9.6 %."""


def html(answer: Prediction, level: int = 4) -> str:
    """The verdict on a photograph in a few words, bars and figures.

    Args:
        answer: of the service; one without ``details`` gives the diagnosis alone.
        level: of the headings.
    """
    details = answer.details or None
    malignant = details.malignant if details else None
    parts = [] if malignant is None else [_malignant(malignant, level)]
    parts.append(_diagnosis(answer, level))
    figures = "".join(f"<section>{part}</section>" for part in parts)
    if details and details.out_of_distribution and details.out_of_distribution.flagged:
        heading = _heading(_("No reliable diagnosis"), level)
        why = _(
            "This picture is unlike the photographs that the model was trained on. What the model says about such a "
            "picture is meaningless: it is evidence neither for nor against a malignant lesion."
        )
        summary = _("Show what the model says anyway")
        figures = (
            f'<section class="mlbio-unsure">{heading}<p>{escape(why)}</p></section>'
            f"<details><summary>{escape(summary)}</summary>{figures}</details>"
        )
    return f'<div class="mlbio-verdict">{figures}</div>'


def grade(malignant: Malignant) -> str:
    """How the malignant probability compares with the threshold, in words."""
    distance = _log_odds(malignant.probability) - _log_odds(malignant.threshold)
    if not malignant.flagged:
        if distance < FAR_BELOW:
            return _("Far below the malignant threshold")
        return _("Below the malignant threshold")
    if distance < ABOVE:
        return _("Just above the malignant threshold")
    if distance < FAR_ABOVE:
        return _("Above the malignant threshold")
    return _("Far above the malignant threshold")


def _malignant(malignant: Malignant, level: int) -> str:
    share, threshold = percent(malignant.probability), percent(malignant.threshold)
    *others, last = (_(CLASSES[code]).lower() for code in reversed(MALIGNANT))
    sentence = _("{diagnoses} and {last_diagnosis} together: {share}.").format(
        diagnoses=", ".join(others), last_diagnosis=last, share=share
    )
    sentence = sentence[0].upper() + sentence[1:]
    at = 100 * malignant.threshold
    alarm = ' class="mlbio-alarm"' if malignant.flagged else ""
    # The threshold's label is kept inside the bar's width on either side.
    place = f"left:{at:.2f}%" if at < 50 else f"right:{100 - at:.2f}%"
    label = _("threshold {threshold}").format(threshold=threshold)
    described = _("{share} on a scale from 0 to 100, threshold at {threshold}").format(share=share, threshold=threshold)
    bar = (
        f'<div class="mlbio-scale" role="img" aria-label="{escape(described)}">'
        f'<div{alarm} style="width:{100 * malignant.probability:.2f}%"></div>'
        f'<i style="left:{at:.2f}%"></i><span style="{place}">{escape(label)}</span></div>'
    )
    return f"{_heading(grade(malignant), level)}{bar}<p>{escape(sentence)}</p>{_reliability(malignant)}"


def _reliability(malignant: Malignant) -> str:
    """How often the flag is right, if the service reports it."""
    if malignant.sensitivity is None or malignant.false_alarm_rate is None:
        return ""
    text = _(
        "Of the test photographs, {sensitivity} of the malignant ones and {false_alarms} of the others reach the "
        "threshold."
    ).format(sensitivity=percent(malignant.sensitivity), false_alarms=percent(malignant.false_alarm_rate))
    return f'<p class="mlbio-note">{escape(text)}</p>'


def _diagnosis(answer: Prediction, level: int) -> str:
    """The most probable class, those that cannot be excluded, and a bar for each, the most probable first."""
    probabilities = answer.details.probabilities if answer.details else {}
    plausible = (answer.details.plausible if answer.details else None) or []
    rows = "".join(
        f'<dt>{escape(_(name))}</dt><dd><div><div style="width:{100 * p:.2f}%"></div></div>'
        f"<span>{escape(percent(p))}</span></dd>"
        for name, p in sorted(probabilities.items(), key=lambda item: -item[1])
    )
    probability = _("Probability {share}").format(share=percent(answer.probability))
    doubt = ""
    if len(plausible) > 1:
        names = ", ".join(_(name).lower() for name in plausible)
        text = _("Cannot be excluded: {diagnoses}").format(diagnoses=names)
        doubt = f'<p class="mlbio-plausible">{escape(text)}</p>'
    bars = f'<dl class="mlbio-classes">{rows}</dl>' if rows else ""
    heading = f'<h{level} class="mlbio-prediction">{escape(_(answer.prediction))}</h{level}>'
    return f'{heading}<p class="mlbio-probability">{escape(probability)}</p>{doubt}{bars}'


def _heading(text: str, level: int) -> str:
    return f"<h{level}>{escape(text)}</h{level}>"


def _log_odds(p: float) -> float:
    p = min(max(p, 1e-4), 1 - 1e-4)
    return math.log(p / (1 - p))
