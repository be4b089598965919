"""An explanation on the whole photograph, as HTML: two pictures that zoom together, and what they show in words.

It needs :data:`frontend.style.VIEW_STYLE` and ``setUp`` of :data:`frontend.style.VIEWER_SCRIPT`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from PIL import Image

from api.answer import ExplanationFigures, Regions, StopReason
from api.photograph import Square
from api.pictures import read_map
from frontend.crop import for_view, unseen
from frontend.i18n import _, number
from frontend.photographs import data_url
from frontend.regions import Shape, named_in_tables, rank, shapes, strongest, supporting

# The limits come from the tables in docs/explanations.md. Fifty explanations had an R² with pairs of 0.87 to 0.90 on
# average, 0.84 at the lower end of its interval, and 0.59 to 0.65 for the worst photograph. Those with a stability of
# 0.92 agreed to 0.92 with a second run, those with 0.85 to 0.83, and those with 0.75 to 0.69.

FAITHFUL, ROUGH = 0.8, 0.65
"""Least R² with pairs of an explanation that approximates the network well, and of one that does so roughly."""

STABLE, FAIRLY_STABLE = 0.9, 0.8
"""Least stability of an explanation that another run would repeat, and of one that it would largely repeat."""

LOW_R2, PAIRS_GAIN = 0.5, 0.25
"""Below this R², and with pairs explaining so much more, regions cannot be read one by one."""


def view(photograph: Image.Image, prediction: str, figures: ExplanationFigures, id: str, level: int = 4) -> str:
    """The explanation of a photograph.

    Args:
        photograph: upright, in full size.
        prediction: the diagnosis that is explained.
        figures: ``details.explanation`` of the answer.
        id: in letters and digits, unique on the page.
        level: of the headings.

    Raises:
        ValueError: the regions cannot be read.
    """
    shown = for_view(photograph)
    regions = figures.regions
    drawn = shapes(read_map(regions.map), Square.of(shown.size))
    errors: Sequence[float | None] = regions.standard_errors or [None] * len(regions.weights)
    if len(errors) != len(regions.weights) or any(n >= len(regions.weights) for n in drawn):
        raise ValueError("the answer has regions without a weight")
    ranks = rank(regions.weights)
    names = {n: name(ranks[n], regions.weights[n], errors[n], prediction) for n in drawn}
    heading = f"<h{level}>{escape(reliability(figures))}</h{level}>"
    sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in caveats(figures))
    return (
        f'<div class="mlbio-x" data-view="heat">{heading}{sentences}{_tools(id)}'
        f"{_pictures(shown, drawn, regions, ranks, names, prediction)}"
        f"{_legend(regions.weights, prediction)}"
        f'<div class="mlbio-x-tables">{_strongest(figures, ranks)}{_pairs(figures, ranks)}</div>'
        f"{_figures(figures)}</div>"
    )


def reliability(figures: ExplanationFigures) -> str:
    """How reliable an explanation is, in a few words."""
    if not any(figures.regions.weights):
        return _("No region of the photograph changes the diagnosis")
    faithful, stability = figures.r2_with_pairs, figures.stability
    if faithful is None or stability is None:
        return _("Explanation of unknown reliability")
    if faithful < ROUGH:
        return _("Weak explanation: the simple model approximates the network poorly")
    if stability < FAIRLY_STABLE:
        return _("Unstable explanation: another run may find other regions")
    if faithful < FAITHFUL:
        return _("Fair explanation: the simple model approximates the network roughly")
    if stability < STABLE:
        return _("Faithful explanation, but only fairly stable")
    return _("Stable and faithful explanation")


def caveats(figures: ExplanationFigures) -> list[str]:
    """Sentences about what limits an explanation; none for a good one."""
    weights, sentences = figures.regions.weights, []
    if not any(weights):
        sentences.append(_("Hiding any of them leaves it as it is, so all weights are 0: there is nothing to explain."))
    elif max(weights) <= 0:
        sentences.append(_("No region supports this diagnosis; all of them contradict it."))
    if figures.stability is not None and figures.target is not None and not figures.reached:
        sentences.append(
            _("Target not reached: stability {stability} of {target}.").format(
                stability=number(figures.stability, 2), target=number(figures.target, 2)
            )
        )
    if figures.stopped == "deadline":
        sentences.append(_("The time limit was reached; this is the best result so far."))
    alone, with_pairs = figures.r2, figures.r2_with_pairs
    if alone is not None and with_pairs is not None and alone < LOW_R2 and with_pairs - alone > PAIRS_GAIN:
        sentences.append(_("Individually, the regions explain little here: look at the pairs as well."))
    return sentences


def rows(figures: ExplanationFigures) -> list[tuple[str, str]]:
    """Every figure with its name."""

    def known(value: float | None) -> str:
        return _("unknown") if value is None else number(value, 2)

    reasons: dict[StopReason | None, str] = {
        "settled": _("the strongest regions were stable"),
        "budget": _("the limit of the chosen precision"),
        "deadline": _("the time limit"),
    }
    return [
        (_("Perturbed photographs"), str(figures.samples)),
        (_("Seconds"), number(figures.seconds, 1)),
        (_("R² of the regions alone"), known(figures.r2)),
        (_("R² with pairs of regions"), known(figures.r2_with_pairs)),
        (_("Completeness (1 is best)"), known(figures.completeness)),
        (_("Stability"), known(figures.stability)),
        (_("Target stability"), known(figures.target)),
        (_("Stopped by"), reasons.get(figures.stopped, _("unknown"))),
    ]


def name(rank: int, weight: float, error: float | None, prediction: str) -> str:
    """Such as ``Region 3: +0.42 ± 0.05, supports melanoma``."""
    text = (
        _("Region {number}: {weight}, supports {diagnosis}")
        if weight >= 0
        else _("Region {number}: {weight}, contradicts {diagnosis}")
    )
    return text.format(number=rank, weight=with_error(weight, error), diagnosis=_(prediction).lower())


def with_error(weight: float, error: float | None) -> str:
    """Such as ``+0.42 ± 0.05``, or without the error where the method has none."""
    return signed(weight) if error is None else f"{signed(weight)} ± {number(error, 2)}"


def signed(value: float) -> str:
    """``value`` with two decimals, always with a sign."""
    return ("−" if value < 0 else "+") + number(abs(value), 2)


def _pictures(
    shown: Image.Image,
    drawn: dict[int, Shape],
    regions: Regions,
    ranks: list[int],
    names: dict[int, str],
    prediction: str,
) -> str:
    weights = regions.weights
    width, height = shown.size
    image = f'<image href="{data_url(shown)}" width="{width}" height="{height}"/>'
    dimmed = f'<path d="{unseen(shown.size)}" fill="#000" fill-opacity=".45" pointer-events="none"/>'
    most = max(map(abs, weights), default=0.0) or 1.0
    named, supports = named_in_tables(regions), supporting(weights)
    outlined = {*strongest(weights), *supports}
    plain, areas, numbers = [], [], []
    for n, shape in drawn.items():
        area = f'<path class="mlbio-x-region" data-region="{n}" d="{shape.path}"'
        plain.append(area + "/>")
        sign = "plus" if weights[n] >= 0 else "minus"
        strong = " mlbio-x-strong" if n in outlined else ""
        focus = ' tabindex="0"' if n in named else ""
        areas.append(
            f'<g class="mlbio-x-{sign}{strong}" style="--w:{abs(weights[n]) / most:.3f}">'
            f'<path class="mlbio-x-heat" d="{shape.path}"/><path class="mlbio-x-line" d="{shape.path}"/>'
            f'{area} role="img" aria-label="{escape(names[n])}"{focus}/></g>'
        )
        if n in named:
            x, y = shape.centre
            hidden = "" if n in supports else " mlbio-x-hidden"
            place = f"translate({x:.0f} {y:.0f}) scale({max(width, height) / 32:.0f})"
            numbers.append(
                f'<text class="mlbio-x-number{hidden}" aria-hidden="true" data-at="{x:.0f} {y:.0f}" '
                f'transform="{place}">{ranks[n]}</text>'
            )
    veil = f"M0 0H{width}V{height}H0Z" + "".join(drawn[n].path for n in supports if n in drawn)
    views = (
        (_("The photograph; what lies outside the square was not seen"), "".join(plain)),
        (
            _("What supports and what contradicts {diagnosis}").format(diagnosis=_(prediction).lower()),
            f'{"".join(areas)}<path class="mlbio-x-veil" fill-rule="evenodd" d="{veil}"/>{"".join(numbers)}',
        ),
    )
    if width == height:
        views = ((_("The photograph"), views[0][1]), views[1])
    figures = "".join(
        f'<figure><svg class="mlbio-x-view" viewBox="0 0 {width} {height}" role="group" tabindex="0" '
        f'aria-label="{escape(caption)}"><g>{image}{dimmed if width != height else ""}{content}</g></svg>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for caption, content in views
    )
    hint = escape(_("Point at a region, or tap it, to see its weight."))
    return (
        f'<div class="mlbio-x-pair">{figures}</div><p class="mlbio-x-name" role="status" data-hint="{hint}">{hint}</p>'
    )


def _tools(id: str) -> str:
    """The choice of view, opacity and zoom."""
    choices = (("heat", _("Heat map")), ("outlines", _("Outlines")), ("hide", _("Hide the rest")))
    radios = "".join(
        f'<label><input type="radio" name="view-{escape(id)}" value="{value}"{" checked" * (value == "heat")}>'
        f"{escape(label)}</label>"
        for value, label in choices
    )
    buttons = "".join(
        f'<button type="button" data-zoom="{factor}" aria-label="{escape(label)}">{sign}</button>'
        for factor, sign, label in (
            (1.4, "+", _("Zoom in")),
            (0.714, "−", _("Zoom out")),
            (0, "1:1", _("Whole picture")),
        )
    )
    view_label, opacity = _("View"), _("Opacity")
    return (
        f'<div class="mlbio-x-tools"><fieldset><legend>{escape(view_label)}</legend>{radios}</fieldset>'
        f'<label>{escape(opacity)} <input type="range" min="0" max="100" value="60"></label>'
        f"<span>{buttons}</span></div>"
    )


def _legend(weights: list[float], prediction: str) -> str:
    """What the colours mean."""
    most = number(max(map(abs, weights), default=0.0), 2)
    texts = (
        ("supporting", _("supports {diagnosis}, up to +{most}")),
        ("contradicting", _("contradicts {diagnosis}, up to −{most}")),
    )
    swatches = "".join(
        f'<span class="mlbio-x-key"><i><b class="mlbio-x-{name}"></b></i>'
        f"{escape(text.format(diagnosis=_(prediction).lower(), most=most))}</span>"
        for name, text in texts
    )
    unit = _("Weights are in log-odds, ± their standard error.")
    return f"<p>{swatches}</p><p>{escape(unit)}</p>"


def _strongest(figures: ExplanationFigures, ranks: list[int]) -> str:
    weights = figures.regions.weights
    errors: Sequence[float | None] = figures.regions.standard_errors or [None] * len(weights)
    supports, contradicts = _("supports"), _("contradicts")
    body = "".join(
        f'<tr><th scope="row">{ranks[n]}</th><td class="mlbio-x-figure">{with_error(weights[n], errors[n])}'
        f"</td><td>{escape(supports if weights[n] > 0 else contradicts)}</td></tr>"
        for n in strongest(weights)
    )
    heads = (_("Region"), _("Weight"), _("Effect"))
    return _table(_("Strongest regions"), heads, body) if body else ""


def _pairs(figures: ExplanationFigures, ranks: list[int]) -> str:
    pairs = [p for p in figures.regions.pairs if all(0 <= n < len(ranks) for n in p.regions)]
    body = ""
    for pair in pairs:
        first, second = sorted(ranks[n] for n in pair.regions)
        meaning = _("the two matter only together") if pair.interaction > 0 else _("either can replace the other")
        body += (
            f'<tr><th scope="row">{first} + {second}</th>'
            f'<td class="mlbio-x-figure">{signed(pair.interaction)}</td><td>{escape(meaning)}</td></tr>'
        )
    heads = (_("Regions"), _("Interaction"), _("Meaning"))
    return _table(_("Strongest pairs"), heads, body) if body else ""


def _table(caption: str, heads: tuple[str, ...], body: str) -> str:
    cells = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"


def _figures(figures: ExplanationFigures) -> str:
    lines = "".join(
        f'<tr><th scope="row">{escape(label)}</th><td>{escape(value)}</td></tr>' for label, value in rows(figures)
    )
    summary = escape(_("All figures"))
    return f"<details><summary>{summary}</summary><table><tbody>{lines}</tbody></table></details>"
