"""Several photographs: a table to sort, filter and download, and which cards are shown below it."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from api.classes import CLASSES
from frontend.card import escape_markdown
from frontend.i18n import _, in_current_language, ngettext, percent
from frontend.results import Comparison, Row, TruthError, compare, read_truth, row, to_csv, to_zip
from frontend.style import scroll_script
from frontend.tasks import Entry

CARDS_PER_PAGE = 10
"""Hundreds would make the browser slow."""


def show(entries: Sequence[Entry]) -> Sequence[Entry]:
    """Draw the table if there are several photographs; return those whose cards are to be shown."""
    if len(entries) < 2:
        return entries
    count = len(entries)
    st.header(ngettext("{count} photograph", "{count} photographs", count).format(count=count), anchor=False)
    rows = [row(entry) for entry in entries]
    filters = {
        "all": _("All"),
        "malignant": _("Flagged as malignant"),
        "unlike": _("Unlike the training photographs"),
        "failed": _("Failed"),
    }
    chosen = st.segmented_control(
        _("Show"), list(filters), default="all", required=True, key="filter", format_func=filters.__getitem__
    )
    matching = [(e, r) for e, r in zip(entries, rows, strict=True) if _matches(r, chosen or "all")]
    if not matching:
        st.caption(_("None."))
    else:
        _table(matching)
    _downloads(entries)
    _ground_truth(entries)
    return _page([e for e, r in matching])


def _matches(row: Row, filter: str) -> bool:
    return {
        "all": True,
        "malignant": bool(row.malignant),
        "unlike": bool(row.unlike),
        "failed": row.error is not None,
    }[filter]


def _table(matching: Sequence[tuple[Entry, Row]]) -> None:
    """The table; selecting a row scrolls to its card."""
    rows = [r for e, r in matching]
    frame = pd.DataFrame(
        {
            "picture": [e.thumbnail if e.diagnosis.answer else None for e, r in matching],
            "file": [r.file for r in rows],
            "diagnosis": [r.diagnosis or r.error or "…" for r in rows],
            "probability": [r.probability for r in rows],
            "malignant": [r.malignant_probability for r in rows],
            "flag": [bool(r.malignant) for r in rows],
            "unlike": [bool(r.unlike) for r in rows],
            "stability": [r.stability for r in rows],
        }
    )
    column = st.column_config
    event = st.dataframe(
        frame,
        hide_index=True,
        height=min(38 + 44 * len(rows), 450),
        row_height=44,
        key="table",
        on_select="rerun",
        selection_mode="single-row",
        alt=_("The photographs with their diagnoses"),
        column_config={
            "picture": column.ImageColumn(_("Picture"), width="small"),
            "file": column.TextColumn(_("File")),
            "diagnosis": column.TextColumn(_("Diagnosis")),
            "probability": column.NumberColumn(_("Probability"), format="percent"),
            "malignant": column.NumberColumn(_("Malignant"), format="percent"),
            "flag": column.CheckboxColumn(_("Flagged")),
            "unlike": column.CheckboxColumn(_("Unlike")),
            "stability": column.NumberColumn(_("Stability"), format="percent"),
        },
    )
    st.caption(_("Click a heading to sort, or the box next to a row to show its photograph."))
    selected = event.selection.rows
    if selected and selected[0] < len(rows) and selected != st.session_state.get("selected"):
        st.session_state.page = selected[0] // CARDS_PER_PAGE + 1
        st.session_state.scrolls = st.session_state.get("scrolls", 0) + 1
        id = matching[selected[0]][0].photograph.id
        st.session_state.scroll_script = scroll_script(id, st.session_state.scrolls)
    st.session_state.selected = selected


def _downloads(entries: Sequence[Entry]) -> None:
    with st.container(horizontal=True):
        st.download_button(
            _("Table as CSV"), lambda: to_csv(entries), file_name="mlbio.csv", mime="text/csv", on_click="ignore"
        )
        st.download_button(
            _("Everything as ZIP"),
            in_current_language(lambda: to_zip(entries)),
            file_name="mlbio.zip",
            mime="application/zip",
            on_click="ignore",
        )


def _ground_truth(entries: Sequence[Entry]) -> None:
    """For teaching: how the diagnoses compare with the true ones."""
    with st.expander(_("Compare with the true diagnoses")):
        st.caption(_("A CSV file with the columns file and dx; dx is one of {codes}.").format(codes=", ".join(CLASSES)))
        upload = st.file_uploader(_("True diagnoses"), key="truth")
        if upload is None:
            return
        try:
            comparison = compare(entries, read_truth(upload.getvalue()))
        except TruthError as error:
            st.error(escape_markdown(str(error)))
            return
        if comparison is None:
            st.warning(_("None of the files it lists has been uploaded."))
            return
        _comparison(comparison)


def _comparison(comparison: Comparison) -> None:
    left, middle, right = st.columns(3)
    left.metric(_("Photographs"), comparison.total)
    middle.metric(_("Accuracy"), percent(comparison.accuracy))
    right.metric(_("Balanced accuracy"), percent(comparison.balanced_accuracy))
    classes = [c for c in CLASSES if any(c in pair for pair in comparison.counts)]
    counts = [[comparison.counts.get((true, predicted), 0) for predicted in classes] for true in classes]
    names = [_(CLASSES[c]) for c in classes]
    st.table(pd.DataFrame(counts, index=pd.Index(names, name=_("True ↓ Model →")), columns=names))


def _page(entries: Sequence[Entry]) -> Sequence[Entry]:
    """The photographs of the current page."""
    pages = max(1, -(-len(entries) // CARDS_PER_PAGE))
    if pages == 1:
        return entries
    st.session_state.page = min(st.session_state.get("page", 1), pages)
    page = st.number_input(_("Page (of {count})").format(count=pages), 1, pages, key="page", width=200)
    return entries[(page - 1) * CARDS_PER_PAGE : page * CARDS_PER_PAGE]
