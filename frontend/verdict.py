"""The verdict on a photograph as HTML: malignant or not, then the diagnosis. Put :data:`STYLE` before it, once."""

from __future__ import annotations

import math
from html import escape

from api.answer import Malignant, Prediction
from api.classes import CLASSES, MALIGNANT
from frontend.i18n import _, percent

BAR = "#2f7d84"
"""Colour of probabilities. Its contrast is above 3 on both of the page's backgrounds, as a unit test verifies."""

ALARM = "#d0453e"
"""Colour of a malignant probability that reaches the threshold, with the same contrast."""

TRACK = "#7b8a8c"
"""Colour of the outline of a bar, with the same contrast."""

STYLE = f"""<style>
/* Malignant or not, and the diagnosis: side by side where there is room. */
.mlbio-verdict {{ line-height: 1.45; overflow-wrap: anywhere; display: grid; gap: 1.1rem 3rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); }}
.mlbio-verdict section {{ max-width: 36rem; }}
.mlbio-verdict > .mlbio-unsure, .mlbio-verdict > details {{ grid-column: 1 / -1; }}
.mlbio-verdict h4, .mlbio-verdict h3 {{ font-size: 1.2rem; font-weight: 600; line-height: 1.3;
  margin: 0 0 .3rem; padding: 0; }}
.mlbio-verdict details section + section {{ margin-top: 1.1rem; }}
.mlbio-verdict p {{ margin: .3rem 0; font-size: .95rem; }}
.mlbio-verdict .mlbio-note {{ font-size: .82rem; }}
.mlbio-verdict .mlbio-unsure {{ border-left: .3rem solid #c07a10; padding-left: .75rem; }}
.mlbio-verdict summary {{ cursor: pointer; font-size: .9rem; margin: .6rem 0; }}
.mlbio-scale {{ position: relative; height: 1rem; margin: .45rem 0 1.5rem; border-radius: .25rem;
  box-shadow: inset 0 0 0 1px {TRACK}; print-color-adjust: exact; -webkit-print-color-adjust: exact; }}
.mlbio-scale > div {{ height: 100%; border-radius: .25rem; min-width: 3px; }}
.mlbio-scale > i {{ position: absolute; top: -.3rem; height: 1.6rem; border-left: 2px solid currentColor; }}
.mlbio-scale > span {{ position: absolute; top: 1.2rem; font-size: .75rem; line-height: 1; white-space: nowrap;
  padding: 0 .4rem; }}
.mlbio-classes {{ display: grid; grid-template-columns: minmax(0, auto) minmax(3rem, 1fr) auto; gap: .2rem .6rem;
  align-items: center; font-size: .82rem; line-height: 1.3; margin: .4rem 0 0;
  padding: 0; }}
/* Streamlit indents lists. */
.mlbio-classes, .mlbio-classes dt {{ margin-left: 0 !important; padding-left: 0 !important; }}
.mlbio-classes dt {{ grid-column: 1; font-weight: 400; }}
.mlbio-classes dd {{ display: contents; }}
.mlbio-classes dd > div {{ height: .65rem; border-radius: .2rem; box-shadow: inset 0 0 0 1px {TRACK}; overflow: hidden;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }}
.mlbio-classes dd > div > div {{ height: 100%; background: {BAR}; }}
.mlbio-classes dd > span {{ text-align: right; font-variant-numeric: tabular-nums; }}
</style>"""

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
    colour = ALARM if malignant.flagged else BAR
    # The threshold's label is kept inside the bar's width on either side.
    place = f"left:{at:.2f}%" if at < 50 else f"right:{100 - at:.2f}%"
    label = _("threshold {threshold}").format(threshold=threshold)
    described = _("{share} on a scale from 0 to 100, threshold at {threshold}").format(share=share, threshold=threshold)
    bar = (
        f'<div class="mlbio-scale" role="img" aria-label="{escape(described)}">'
        f'<div style="width:{100 * malignant.probability:.2f}%;background:{colour}"></div>'
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
