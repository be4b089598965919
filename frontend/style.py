"""Style sheets and scripts, from ``assets/``: what .streamlit/config.toml cannot set."""

from __future__ import annotations

import json
from pathlib import Path

from frontend.i18n import N_, _, current_language


def _asset(name: str) -> str:
    return (Path(__file__).parent / "assets" / name).read_text(encoding="utf-8")


VIEW_STYLE = f"<style>{_asset('views.css')}</style>"
"""Of what :mod:`frontend.verdict` and :mod:`frontend.explanation` return; once on a page."""

REPORT_STYLE = f"<style>{_asset('report.css')}</style>"

VIEWER_SCRIPT = _asset("viewer.js")
"""Defines ``setUp(root)``, which makes an explanation's two pictures zoom and pan together."""

_PAGE_STYLE, _TRANSLATE = _asset("page.css"), _asset("translate.js")

WIDGET_TEXTS = (
    N_("Upload"),
    N_("Browse files"),
    N_("Add files"),
    N_("This app would like to use your camera."),
    N_("Take Photo"),
    N_("Clear photo"),
    N_("Switch camera"),
    N_("Search"),
    N_("Type to search"),
    N_("Close Search"),
    N_("Next Result"),
    N_("Previous Result"),
    N_("Fullscreen"),
    N_("Close fullscreen"),
    N_("Download as CSV"),
    N_("Show/hide columns"),
    N_("Clear selection"),
    N_("Sort ascending"),
    N_("Sort descending"),
    N_("Autosize"),
    N_("Pin column"),
    N_("Unpin column"),
    N_("Hide column"),
    N_("Copy column name"),
    N_("Dataframe column menu"),
    N_("Statistics"),
    N_("Close"),
)
"""The texts of Streamlit's own widgets, which it has in English only."""


def style() -> str:
    """The page's style sheets."""
    accepted = json.dumps(_("JPEG, HEIC, PNG, WebP, BMP, TIFF or GIF, at most 100\u00a0MB each"), ensure_ascii=False)
    return f"<style>:root {{ --mlbio-accepted: {accepted}; }}{_PAGE_STYLE}</style>{VIEW_STYLE}"


def language_script() -> str:
    """Tell the browser and screen readers the page's language, and translate the texts of Streamlit's own widgets.

    Streamlit declares every page to be in English.
    """
    translations = {text: _(text) for text in WIDGET_TEXTS if _(text) != text}
    return f"<script>{_TRANSLATE}mlbioLanguage('{current_language()}', {json.dumps(translations)})</script>"


def scroll_script(id: str, nonce: int) -> str:
    """Scroll to a photograph's card. A new ``nonce`` makes the browser run the script again."""
    return (
        f"<script>/* {nonce} */ setTimeout(() => document.querySelector('.st-key-card_{id}')"
        "?.scrollIntoView({behavior: 'smooth', block: 'start'}), 300)</script>"
    )
