"""An explanation on the whole photograph, as HTML: two pictures that zoom together, and what they show in words.

It needs ``viewer.CSS`` and ``viewer.SET_UP``; in a file, ``viewer.STYLE`` before it and ``viewer.SCRIPT`` after it.
"""

from __future__ import annotations

from html import escape

from PIL import Image

from api.answer import ExplanationFigures, Regions
from api.photograph import Square
from api.pictures import read_map
from frontend.crop import for_view, unseen
from frontend.i18n import _, number
from frontend.photographs import data_url
from frontend.reliability import assess, rows
from frontend.shapes import Shape, shapes
from frontend.viewer import CONTRADICTING, SUPPORTING

STRONGEST = 5
"""Regions that are numbered on the picture and listed; as many as the service outlines."""

MIN_RELATIVE_WEIGHT = 0.1
"""A region is one of the strongest only with at least this share of the greatest weight; as in the service."""


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
    if len(regions.standard_errors) != len(regions.weights) or any(n >= len(regions.weights) for n in drawn):
        raise ValueError("the answer has regions without a weight")
    ranks = rank(regions.weights)
    names = {n: name(ranks[n], regions.weights[n], regions.standard_errors[n], prediction) for n in drawn}
    reliability = assess(figures)
    heading = f"<h{level}>{escape(reliability.heading)}</h{level}>"
    sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in reliability.sentences)
    return (
        f'<div class="mlbio-x" data-view="heat">{heading}{sentences}{_tools(id)}'
        f"{_pictures(shown, drawn, regions, ranks, names, prediction)}"
        f"{_legend(regions.weights, prediction)}"
        f'<div class="mlbio-x-tables">{_strongest(figures, ranks)}{_pairs(figures, ranks)}</div>'
        f"{_figures(figures)}</div>"
    )


def rank(weights: list[float]) -> list[int]:
    """The number shown for each region: 1 for the greatest weight, whatever its sign."""
    order = sorted(range(len(weights)), key=lambda n: -abs(weights[n]))
    return [order.index(n) + 1 for n in range(len(weights))]


def strongest(weights: list[float]) -> list[int]:
    """The regions worth naming, the strongest first."""
    order = sorted(range(len(weights)), key=lambda n: -abs(weights[n]))
    most = max(map(abs, weights), default=0.0)
    return [n for n in order[:STRONGEST] if abs(weights[n]) >= MIN_RELATIVE_WEIGHT * most and weights[n] != 0]


def supporting(weights: list[float]) -> list[int]:
    """The strongest of the regions that support the diagnosis."""
    return [n for n in strongest([max(0.0, w) for w in weights]) if weights[n] > 0]


def named_in_tables(regions: Regions) -> set[int]:
    """The regions in the tables, which the picture therefore numbers."""
    return {*strongest(regions.weights), *(n for pair in regions.pairs for n in pair.regions)}


def name(rank: int, weight: float, error: float, prediction: str) -> str:
    """Such as ``Region 3: +0.42 ± 0.05, supports melanoma``."""
    text = (
        _("Region {number}: {weight} ± {error}, supports {diagnosis}")
        if weight >= 0
        else _("Region {number}: {weight} ± {error}, contradicts {diagnosis}")
    )
    return text.format(number=rank, weight=signed(weight), error=number(error, 2), diagnosis=_(prediction).lower())


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
        (SUPPORTING, _("supports {diagnosis}, up to +{most}")),
        (CONTRADICTING, _("contradicts {diagnosis}, up to −{most}")),
    )
    swatches = "".join(
        f'<span class="mlbio-x-key"><i><b style="background:linear-gradient(90deg,transparent,{colour})"></b></i>'
        f"{escape(text.format(diagnosis=_(prediction).lower(), most=most))}</span>"
        for colour, text in texts
    )
    unit = _("Weights are in log-odds, ± their standard error.")
    return f"<p>{swatches}</p><p>{escape(unit)}</p>"


def _strongest(figures: ExplanationFigures, ranks: list[int]) -> str:
    weights, errors = figures.regions.weights, figures.regions.standard_errors
    supports, contradicts = _("supports"), _("contradicts")
    body = "".join(
        f'<tr><th scope="row">{ranks[n]}</th><td class="mlbio-x-figure">{signed(weights[n])} ± '
        f"{number(errors[n], 2)}</td><td>{escape(supports if weights[n] > 0 else contradicts)}</td></tr>"
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
