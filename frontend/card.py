"""One photograph on the page: verdict, pictures and buttons."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from pathlib import PurePath

import streamlit as st
from PIL import Image
from streamlit.components.v2.types import ComponentRenderer

from api.photograph import open_photograph
from api.pictures import explanation_png
from api.request import Precision
from frontend import crop, explanation, verdict
from frontend.i18n import _, current_language, in_current_language
from frontend.results import describe, is_retryable, to_report
from frontend.style import VIEWER_SCRIPT
from frontend.tasks import Entry, TaskQueue

POLL_SECONDS = 0.5

# Redrawing the page leaves the view as it is, zoomed for instance, unless its content has changed.
_MOUNT = """
export default ({ data, parentElement }) => {
  if (parentElement.mlbioView === data) return;
  parentElement.mlbioView = data;
  const host = parentElement.querySelector(".mlbio-x-host");
  host.innerHTML = data;
  setUp(host.querySelector(".mlbio-x"));
};
"""


def show(entry: Entry, queue: TaskQueue, precision: Precision) -> None:
    """Draw a photograph. ``precision`` is that of the next explanation."""
    with st.container(border=True, key=f"card_{entry.photograph.id}"):
        st.subheader(escape_markdown(entry.photograph.name), anchor=False)
        if entry.figures is not None:
            _verdict(entry, queue)
            _note(entry)
            _explanation(entry)
        else:
            # The verdict comes first for screen readers and phones; style.py puts it to the right on a wide screen.
            right, left = st.columns([1.6, 1])
            with right:
                _verdict(entry, queue)
                _note(entry)
            with left:
                _photograph(entry)
        _buttons(entry, queue, precision)


def escape_markdown(text: str) -> str:
    """``text`` for Streamlit's Markdown: file names and answers may contain its special characters."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)


def _verdict(entry: Entry, queue: TaskQueue) -> None:
    answer, diagnosis = entry.answer, entry.diagnosis
    if answer is not None:
        st.html(verdict.html(answer))
    elif diagnosis.error is not None:
        st.error(escape_markdown(describe(diagnosis.error)))
        if is_retryable(diagnosis.error):
            id = entry.photograph.id
            st.button(_("Try again"), key=f"retry_{id}", on_click=queue.retry, args=(id,))
    else:
        st.caption(_("Classifying…") if diagnosis.state == "running" else _("Waiting…"))


def _photograph(entry: Entry) -> None:
    name = entry.photograph.name
    if view := _cached_view(entry, "photograph", lambda photograph: crop.picture(photograph, name)):
        st.html(view)
    else:
        st.caption(_("This file cannot be shown."))


def _note(entry: Entry) -> None:
    """Whether the network saw the whole lesion."""
    if entry.answer is None or entry.is_unlike_training:
        return
    if note := _cached_view(entry, "note", lambda photograph: crop.note(photograph) or ""):
        st.info(escape_markdown(note))


def _explanation(entry: Entry) -> None:
    answer, figures = entry.answer, entry.figures
    assert answer is not None and figures is not None
    id = entry.photograph.id

    def make(photograph: Image.Image) -> str:
        return explanation.view(photograph, answer.prediction, figures, id=id)

    if view := _cached_view(entry, "explanation", make):
        with st.expander(_("Show the explanation anyway")) if entry.is_unlike_training else nullcontext():
            _viewer()(data=view, key=f"explanation_{id}")
    else:
        st.caption(_("This file cannot be shown."))


@cache
def _viewer() -> ComponentRenderer:
    """Draws what ``explanation.view`` made: Streamlit strips SVG and scripts from plain HTML, but not from this."""
    return st.components.v2.component(
        "mlbio_explanation",
        html='<div class="mlbio-x-host"></div>',
        js=VIEWER_SCRIPT + _MOUNT,
        isolate_styles=False,
    )


def _cached_view(entry: Entry, kind: str, make: Callable[[Image.Image], str]) -> str:
    """What ``make`` returns for the photograph, kept until the answer changes; empty if nothing can be shown."""
    key = kind, current_language()
    answer, view = entry.views.get(key, (None, None))
    if view is None or answer is not entry.answer:
        answer = entry.answer
        try:
            view = make(open_photograph(entry.photograph.content))
        except ValueError:  # the photograph cannot be decoded, or the regions cannot be read
            view = ""
        entry.views[key] = answer, view
    return view


def _buttons(entry: Entry, queue: TaskQueue, precision: Precision) -> None:
    """Explain, stop, download and remove; and the progress of an explanation."""
    id, task = entry.photograph.id, entry.explanation
    if task is not None and task.pending:
        _progress(entry)
    if task is not None and task.error is not None:
        st.error(escape_markdown(describe(task.error)))
    with st.container(horizontal=True):
        if task is not None and task.pending:
            st.button(_("Stop"), key=f"stop_{id}", on_click=queue.stop, args=(id,))
        elif entry.answer is not None and entry.can_be_explained(precision):
            label = _("Explain") if task is None or task.answer is None else _("Explain again")
            st.button(label, key=f"explain_{id}", on_click=queue.explain, args=(precision, id))
        if entry.answer is not None:
            _downloads(entry)
        st.button(_("Remove"), key=f"remove_{id}", on_click=queue.remove, args=(id,), type="tertiary")


def _downloads(entry: Entry) -> None:
    id, stem = entry.photograph.id, PurePath(entry.photograph.name).stem
    st.download_button(
        _("Report"),
        in_current_language(lambda: to_report([entry])),
        file_name=f"{stem}.html",
        mime="text/html",
        key=f"report_{id}",
        on_click="ignore",
    )
    explained = entry.answer.explain if entry.answer is not None else None
    if explained is not None:
        st.download_button(
            _("Save as PNG"),
            lambda: explanation_png(explained),
            file_name=f"{stem}_explained.png",
            mime="image/png",
            key=f"save_{id}",
            on_click="ignore",
        )


def _progress(entry: Entry) -> None:
    """A bar that moves by itself, without redrawing the page."""

    def draw() -> None:
        task = entry.explanation
        if task is not None and task.pending:
            text = _("Explaining…") if task.state == "running" else _("Waiting to be explained…")
            st.progress(min(1.0, task.progress), text=text)

    st.fragment(in_current_language(draw), run_every=POLL_SECONDS, key=f"progress_{entry.photograph.id}")()
