"""How far to trust an explanation, in words.

The limits come from the tables in docs/explanations.md. Fifty explanations had an R² with pairs of 0.87 to 0.90 on
average, 0.84 at the lower end of its interval, and 0.59 to 0.65 for the worst photograph. Those with a stability of
0.92 agreed to 0.92 with a second run, those with 0.85 to 0.83, and those with 0.75 to 0.69.
"""

from __future__ import annotations

from dataclasses import dataclass

from api.answer import ExplanationFigures
from frontend.language import Say, number

FAITHFUL, ROUGH = 0.8, 0.65
"""Least R² with pairs of an explanation that copies the network well, and of one that does so roughly."""

STEADY, SHAKY = 0.9, 0.8
"""Least stability of an explanation that another run would repeat, and of one that it would repeat in the main."""

ALONE, GAP = 0.5, 0.25
"""Below this R², and with pairs explaining so much more, regions cannot be read one by one."""


@dataclass(frozen=True)
class Judgement:
    """A few words that sum it up, and sentences that say why."""

    heading: str
    sentences: list[str]


def judge(figures: ExplanationFigures, say: Say) -> Judgement:
    """What the figures of an explanation mean."""
    faithful, stability = figures.r2_with_pairs, figures.stability
    if faithful < ROUGH:
        heading = say("Weak explanation: the simple model copies the network poorly")
    elif stability < SHAKY:
        heading = say("Unsteady explanation: another run may find other regions")
    elif faithful < FAITHFUL:
        heading = say("Fair explanation: the simple model copies the network roughly")
    elif stability < STEADY:
        heading = say("Faithful explanation, but only fairly steady")
    else:
        heading = say("Steady and faithful explanation")
    sentences = []
    if not figures.reached:
        sentences.append(
            say("Target not reached: stability {stability} of {target}.").format(
                stability=number(stability, 2, say), target=number(figures.target, 2, say)
            )
        )
    if figures.stopped == "deadline":
        sentences.append(say("The time limit ended it; this is the best so far."))
    if figures.r2 < ALONE and faithful - figures.r2 > GAP:
        sentences.append(say("One by one the regions explain little here: read the pairs too."))
    return Judgement(heading, sentences)


def rows(figures: ExplanationFigures, say: Say) -> list[tuple[str, str]]:
    """Every figure with its name."""
    stopped = {
        "settled": say("the strongest regions were stable"),
        "budget": say("the precision's limit"),
        "deadline": say("the time limit"),
    }[figures.stopped]

    def known(figure: float | None) -> str:
        return say("unknown") if figure is None else number(figure, 2, say)

    return [
        (say("Perturbed photographs"), str(figures.samples)),
        (say("Seconds"), number(figures.seconds, 1, say)),
        (say("R² of the regions alone"), number(figures.r2, 2, say)),
        (say("R² with pairs of regions"), number(figures.r2_with_pairs, 2, say)),
        (say("R² with triples of regions"), known(figures.r2_with_triples)),
        (say("Completeness (1 is best)"), known(figures.completeness)),
        (say("Stability"), number(figures.stability, 2, say)),
        (say("Its target"), number(figures.target, 2, say)),
        (say("Ended by"), stopped),
    ]
