"""How reliable an explanation is, in words.

The limits come from the tables in docs/explanations.md. Fifty explanations had an R² with pairs of 0.87 to 0.90 on
average, 0.84 at the lower end of its interval, and 0.59 to 0.65 for the worst photograph. Those with a stability of
0.92 agreed to 0.92 with a second run, those with 0.85 to 0.83, and those with 0.75 to 0.69.
"""

from __future__ import annotations

from dataclasses import dataclass

from api.answer import ExplanationFigures
from frontend.i18n import _, number

FAITHFUL, ROUGH = 0.8, 0.65
"""Least R² with pairs of an explanation that approximates the network well, and of one that does so roughly."""

STABLE, FAIRLY_STABLE = 0.9, 0.8
"""Least stability of an explanation that another run would repeat, and of one that it would largely repeat."""

LOW_R2, PAIRS_GAIN = 0.5, 0.25
"""Below this R², and with pairs explaining so much more, regions cannot be read one by one."""


@dataclass(frozen=True)
class Reliability:
    """A summary in a few words, and sentences with the reasons."""

    heading: str
    sentences: list[str]


def assess(figures: ExplanationFigures) -> Reliability:
    """What the figures of an explanation mean."""
    faithful, stability = figures.r2_with_pairs, figures.stability
    if faithful < ROUGH:
        heading = _("Weak explanation: the simple model approximates the network poorly")
    elif stability < FAIRLY_STABLE:
        heading = _("Unstable explanation: another run may find other regions")
    elif faithful < FAITHFUL:
        heading = _("Fair explanation: the simple model approximates the network roughly")
    elif stability < STABLE:
        heading = _("Faithful explanation, but only fairly stable")
    else:
        heading = _("Stable and faithful explanation")
    sentences = []
    if not figures.reached:
        sentences.append(
            _("Target not reached: stability {stability} of {target}.").format(
                stability=number(stability, 2), target=number(figures.target, 2)
            )
        )
    if figures.stopped == "deadline":
        sentences.append(_("The time limit was reached; this is the best result so far."))
    if figures.r2 < LOW_R2 and faithful - figures.r2 > PAIRS_GAIN:
        sentences.append(_("Individually, the regions explain little here: look at the pairs as well."))
    return Reliability(heading, sentences)


def rows(figures: ExplanationFigures) -> list[tuple[str, str]]:
    """Every figure with its name."""
    stopped = {
        "settled": _("the strongest regions were stable"),
        "budget": _("the limit of the chosen precision"),
        "deadline": _("the time limit"),
    }[figures.stopped]
    completeness = figures.completeness

    return [
        (_("Perturbed photographs"), str(figures.samples)),
        (_("Seconds"), number(figures.seconds, 1)),
        (_("R² of the regions alone"), number(figures.r2, 2)),
        (_("R² with pairs of regions"), number(figures.r2_with_pairs, 2)),
        (_("Completeness (1 is best)"), _("unknown") if completeness is None else number(completeness, 2)),
        (_("Stability"), number(figures.stability, 2)),
        (_("Target stability"), number(figures.target, 2)),
        (_("Stopped by"), stopped),
    ]
