"""A report to print or keep: one self-contained HTML file, which needs neither the page nor the network."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from html import escape

from PIL import Image

from api.answer import Prediction
from frontend import crop, explanation, verdict
from frontend.i18n import _, current_language, precision_name
from frontend.style import REPORT_STYLE, VIEW_STYLE, VIEWER_SCRIPT

# Opens all <details> before printing: paper cannot be unfolded.
_SCRIPT = f"""<script>{VIEWER_SCRIPT}
for (const root of document.querySelectorAll(".mlbio-x")) setUp(root);
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => {{ d.open = true; }}));
</script>"""


@dataclass(frozen=True)
class Item:
    """A photograph in a report.

    Attributes:
        name: of its file.
        photograph: upright, in full size; None where it cannot be decoded.
        answer: of the service, with its explanation if there is one.
    """

    name: str
    photograph: Image.Image | None
    answer: Prediction


def html(items: list[Item], created: datetime) -> str:
    """The report on one or several photographs."""
    title = _("Report: {name}").format(name=items[0].name) if len(items) == 1 else _("Report on skin lesions")
    when = _("Created by MLBIO on {date}.").format(date=f"{created:%Y-%m-%d %H:%M}")
    disclaimer = _(
        "For research and teaching only. This is not a medical device and does not replace an examination by a "
        "physician."
    )
    articles = "".join(_article(item, i) for i, item in enumerate(items))
    return (
        f'<!DOCTYPE html><html lang="{current_language()}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>{REPORT_STYLE}{VIEW_STYLE}</head><body><header>"
        f"<h1>{escape(title)}</h1><p>{escape(when)}</p><p><strong>{escape(disclaimer)}</strong></p></header>"
        f"<main>{articles}</main>{_SCRIPT}</body></html>"
    )


def _article(item: Item, index: int) -> str:
    details = item.answer.details or None
    figures = details.explanation if details else None
    parts = [f"<h2>{escape(item.name)}</h2>", verdict.html(item.answer, level=3)]
    if item.photograph is None:
        message = _("This file cannot be shown.")
        parts.append(f"<p>{escape(message)}</p>")
    else:
        if note := crop.note(item.photograph):
            parts.append(f'<p class="mlbio-warning">{escape(note)}</p>')
        if figures is None:
            parts.append(f'<div class="mlbio-alone">{crop.picture(item.photograph, item.name)}</div>')
        else:
            view = explanation.view(item.photograph, item.answer.prediction, figures, id=f"report{index}", level=3)
            if details and details.out_of_distribution and details.out_of_distribution.flagged:
                summary = escape(_("Show the explanation anyway"))
                view = f"<details><summary>{summary}</summary>{view}</details>"
            parts.append(view)
    if details is not None:
        facts = _("Model {architecture}, version {version}.").format(
            architecture=details.model.architecture, version=details.model.version
        )
        if figures is not None:
            facts += " " + _("Precision of the explanation: {precision}.").format(
                precision=precision_name(figures.precision)
            )
        parts.append(f'<p class="mlbio-facts">{escape(facts)}</p>')
    return f"<article>{''.join(parts)}</article>"
