"""The verdict on a photograph as HTML: malignant or not first, then the diagnosis.

The page and the report put :data:`STYLE` before it, once.
"""

from __future__ import annotations

import math
from html import escape

from api.answer import Malignant, Prediction
from frontend.language import Say, percent

BAR = "#2f7d84"
"""Of probabilities; its contrast is above 3 on both of the page's backgrounds, as a unit test computes."""

ALARM = "#d0453e"
"""Of a malignant probability that reaches the threshold; likewise."""

TRACK = "#7b8a8c"
"""Of the outline of a bar; likewise."""

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
"""Bounds of the words, in log-odds from the threshold, where evidence adds up: 2.3 %, 22 % and 56 % if it is 9.6 %."""


def html(answer: Prediction, say: Say, level: int = 4) -> str:
    """What is to be thought of a photograph, in a few words, bars and figures.

    Args:
        answer: of the service; one without ``details`` gives the diagnosis alone.
        level: of the headings.
    """
    details = answer.details or None
    malignant = details.malignant if details else None
    parts = [] if malignant is None else [_malignant(malignant, say, level)]
    parts.append(_diagnosis(answer, say, level))
    figures = "".join(f"<section>{part}</section>" for part in parts)
    if details and details.out_of_distribution and details.out_of_distribution.flagged:
        heading = _heading(say("No reliable diagnosis"), level)
        why = say(
            "This picture is unlike the photographs that the model was trained on. What it says of such a picture "
            "means nothing, neither for a malignant lesion nor against one."
        )
        summary = say("Show what the model says all the same")
        figures = (
            f'<section class="mlbio-unsure">{heading}<p>{escape(why)}</p></section>'
            f"<details><summary>{escape(summary)}</summary>{figures}</details>"
        )
    return f'<div class="mlbio-verdict">{figures}</div>'


def grade(malignant: Malignant, say: Say) -> str:
    """Where the malignant probability lies, in words."""
    distance = _log_odds(malignant.probability) - _log_odds(malignant.threshold)
    if not malignant.flagged:
        if distance < FAR_BELOW:
            return say("Far below the malignant threshold")
        return say("Below the malignant threshold")
    if distance < ABOVE:
        return say("Just above the malignant threshold")
    if distance < FAR_ABOVE:
        return say("Above the malignant threshold")
    return say("Far above the malignant threshold")


def _malignant(malignant: Malignant, say: Say, level: int) -> str:
    share, threshold = percent(malignant.probability, say), percent(malignant.threshold, say)
    sentence = say("Melanoma, basal cell carcinoma and actinic keratoses together: {share}.").format(share=share)
    at = 100 * malignant.threshold
    colour = ALARM if malignant.flagged else BAR
    # The threshold's label is kept inside the bar's width on either side.
    place = f"left:{at:.2f}%" if at < 50 else f"right:{100 - at:.2f}%"
    label = say("threshold {threshold}").format(threshold=threshold)
    described = say("{share} on a scale from 0 to 100, threshold at {threshold}").format(
        share=share, threshold=threshold
    )
    bar = (
        f'<div class="mlbio-scale" role="img" aria-label="{escape(described)}">'
        f'<div style="width:{100 * malignant.probability:.2f}%;background:{colour}"></div>'
        f'<i style="left:{at:.2f}%"></i><span style="{place}">{escape(label)}</span></div>'
    )
    return f"{_heading(grade(malignant, say), level)}{bar}<p>{escape(sentence)}</p>{_reliability(malignant, say)}"


def _reliability(malignant: Malignant, say: Say) -> str:
    """How often the flag is right, if the service says so."""
    if malignant.sensitivity is None or malignant.false_alarm_rate is None:
        return ""
    text = say(
        "Of the test photographs, {sensitivity} of the malignant ones and {false_alarms} of the others reach the "
        "threshold."
    ).format(sensitivity=percent(malignant.sensitivity, say), false_alarms=percent(malignant.false_alarm_rate, say))
    return f'<p class="mlbio-note">{escape(text)}</p>'


def _diagnosis(answer: Prediction, say: Say, level: int) -> str:
    """The most probable class, those that cannot be excluded, and a bar for each, the most probable first."""
    probabilities = answer.details.probabilities if answer.details else {}
    plausible = (answer.details.plausible if answer.details else None) or []
    rows = "".join(
        f'<dt>{escape(say(name))}</dt><dd><div><div style="width:{100 * p:.2f}%"></div></div>'
        f"<span>{escape(percent(p, say))}</span></dd>"
        for name, p in sorted(probabilities.items(), key=lambda item: -item[1])
    )
    probability = say("Probability {share}").format(share=percent(answer.probability, say))
    doubt = ""
    if len(plausible) > 1:
        names = ", ".join(say(name).lower() for name in plausible)
        text = say("Cannot be excluded: {diagnoses}").format(diagnoses=names)
        doubt = f'<p class="mlbio-plausible">{escape(text)}</p>'
    bars = f'<dl class="mlbio-classes">{rows}</dl>' if rows else ""
    heading = f'<h{level} class="mlbio-prediction">{escape(say(answer.prediction))}</h{level}>'
    return f'{heading}<p class="mlbio-probability">{escape(probability)}</p>{doubt}{bars}'


def _heading(text: str, level: int) -> str:
    return f"<h{level}>{escape(text)}</h{level}>"


def _log_odds(p: float) -> float:
    p = min(max(p, 1e-4), 1 - 1e-4)
    return math.log(p / (1 - p))
