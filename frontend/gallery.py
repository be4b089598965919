"""Several photographs: a table to sort, filter and keep, and which cards are shown below it."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from api.classes import CLASSES
from frontend.card import plain
from frontend.language import Say, percent
from frontend.style import scroll_script
from frontend.table import Row, row, to_csv, to_zip
from frontend.truth import Comparison, TruthError, compare, read_truth
from frontend.work import Entry, Work

PAGE = 10
"""Cards at once: hundreds would make the browser slow."""


def show(entries: Sequence[Entry], work: Work, say: Say, language: str) -> Sequence[Entry]:
    """Draw the table if there are several photographs; the photographs whose cards are to be shown."""
    if len(entries) < 2:
        return entries
    st.header(say("{count} photographs").format(count=len(entries)), anchor=False)
    rows = [row(entry, say) for entry in entries]
    filters = {
        "all": say("All"),
        "malignant": say("Flagged as malignant"),
        "unlike": say("Unlike the training photographs"),
        "failed": say("Failed"),
    }
    wanted = st.segmented_control(
        say("Show"), list(filters), default="all", required=True, key="filter", format_func=filters.__getitem__
    )
    kept = [(e, r) for e, r in zip(entries, rows, strict=True) if _passes(r, wanted or "all")]
    if not kept:
        st.caption(say("There are none."))
    else:
        _table(kept, say)
    _downloads(entries, say, language)
    _truth(entries, say)
    return _page([e for e, _ in kept], say)


def _passes(r: Row, wanted: str) -> bool:
    return {
        "all": True,
        "malignant": bool(r.malignant),
        "unlike": bool(r.unlike),
        "failed": r.error is not None,
    }[wanted]


def _table(kept: Sequence[tuple[Entry, Row]], say: Say) -> None:
    """The table; choosing a row brings its card into view."""
    frame = pd.DataFrame(
        {
            "picture": [e.icon if e.diagnosis.answer else None for e, _ in kept],
            "file": [r.file for _, r in kept],
            "diagnosis": [r.diagnosis or r.error or "…" for _, r in kept],
            "probability": [r.probability for _, r in kept],
            "malignant": [r.malignant_probability for _, r in kept],
            "flag": [bool(r.malignant) for _, r in kept],
            "unlike": [bool(r.unlike) for _, r in kept],
            "stability": [r.stability for _, r in kept],
        }
    )
    column = st.column_config
    event = st.dataframe(
        frame,
        hide_index=True,
        height=min(38 + 44 * len(kept), 450),
        row_height=44,
        key="table",
        on_select="rerun",
        selection_mode="single-row",
        alt=say("The photographs with their diagnoses"),
        column_config={
            "picture": column.ImageColumn(say("Picture"), width="small"),
            "file": column.TextColumn(say("File")),
            "diagnosis": column.TextColumn(say("Diagnosis")),
            "probability": column.NumberColumn(say("Probability"), format="percent"),
            "malignant": column.NumberColumn(say("Malignant"), format="percent"),
            "flag": column.CheckboxColumn(say("Flagged")),
            "unlike": column.CheckboxColumn(say("Unlike")),
            "stability": column.NumberColumn(say("Stability"), format="percent"),
        },
    )
    st.caption(say("Click a heading to sort, or the box before a row to see its photograph."))
    chosen = event.selection.rows
    if chosen and chosen[0] < len(kept) and chosen != st.session_state.get("chosen"):
        st.session_state.page = chosen[0] // PAGE + 1
        st.session_state.scrolls = st.session_state.get("scrolls", 0) + 1
        st.session_state.scroll_script = scroll_script(kept[chosen[0]][0].photograph.id, st.session_state.scrolls)
    st.session_state.chosen = chosen


def _downloads(entries: Sequence[Entry], say: Say, language: str) -> None:
    with st.container(horizontal=True):
        st.download_button(
            say("Table as CSV"), lambda: to_csv(entries), file_name="mlbio.csv", mime="text/csv", on_click="ignore"
        )
        st.download_button(
            say("Everything as ZIP"),
            lambda: to_zip(entries, say, language),
            file_name="mlbio.zip",
            mime="application/zip",
            on_click="ignore",
        )


def _truth(entries: Sequence[Entry], say: Say) -> None:
    """For teachers: the diagnoses beside the true ones."""
    with st.expander(say("Compare with the true diagnoses")):
        st.caption(
            say("A CSV file with the columns file and dx; dx is one of {known}.").format(known=", ".join(CLASSES))
        )
        upload = st.file_uploader(say("True diagnoses"), type=["csv"], key="truth")
        if upload is None:
            return
        try:
            comparison = compare(entries, read_truth(upload.getvalue(), say))
        except TruthError as error:
            st.error(plain(str(error)))
            return
        if comparison is None:
            st.warning(say("None of the files it lists has been uploaded."))
            return
        _confusion(comparison, say)


def _confusion(comparison: Comparison, say: Say) -> None:
    left, middle, right = st.columns(3)
    left.metric(say("Photographs"), comparison.total)
    middle.metric(say("Accuracy"), percent(comparison.accuracy, say))
    right.metric(say("Balanced accuracy"), percent(comparison.balanced_accuracy, say))
    classes = [c for c in CLASSES if any(c in pair for pair in comparison.counts)]
    counts = [[comparison.counts.get((true, seen), 0) for seen in classes] for true in classes]
    names = [say(CLASSES[c]) for c in classes]
    st.table(pd.DataFrame(counts, index=pd.Index(names, name=say("True ↓ Model →")), columns=names))


def _page(entries: Sequence[Entry], say: Say) -> Sequence[Entry]:
    """The photographs of the chosen page."""
    pages = max(1, -(-len(entries) // PAGE))
    if pages == 1:
        return entries
    st.session_state.page = min(st.session_state.get("page", 1), pages)
    page = st.number_input(say("Page (of {count})").format(count=pages), 1, pages, key="page", width=200)
    return entries[(page - 1) * PAGE : page * PAGE]
