"""One photograph on the page: verdict, pictures, and what can be done with it. The views draw; they are kept here."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePath

import streamlit as st
from PIL import Image

from api.photograph import ImageError, open_photograph
from api.pictures import explanation_png
from api.request import Precision
from frontend import component, explanation, seen, verdict
from frontend.errors import in_words, may_pass
from frontend.language import Say
from frontend.table import figures_of, reports
from frontend.work import Entry, Work

POLL_SECONDS = 0.5


def show(entry: Entry, work: Work, precision: Precision, say: Say, language: str) -> None:
    """Draw a photograph. ``precision`` is that of an explanation to be asked for."""
    with st.container(border=True, key=f"card_{entry.photograph.id}"):
        st.subheader(plain(entry.photograph.name), anchor=False)
        if figures_of(entry) is not None:
            _verdict(entry, work, say)
            _note(entry, say, language)
            _explanation(entry, say, language)
        else:
            # The verdict comes first for screen readers and phones; style.py puts it to the right on a wide screen.
            right, left = st.columns([1.6, 1])
            with right:
                _verdict(entry, work, say)
                _note(entry, say, language)
            with left:
                _photograph(entry, say, language)
        _buttons(entry, work, precision, say, language)


def _verdict(entry: Entry, work: Work, say: Say) -> None:
    answer, diagnosis = entry.answer, entry.diagnosis
    if answer is not None:
        st.html(verdict.html(answer, say))
    elif diagnosis.error is not None:
        st.error(plain(in_words(diagnosis.error, say)))
        if may_pass(diagnosis.error):
            st.button(
                say("Try again"), key=f"retry_{entry.photograph.id}", on_click=work.retry, args=(entry.photograph.id,)
            )
    else:
        st.caption(say("Classifying…") if diagnosis.state == "running" else say("Waiting…"))


def _photograph(entry: Entry, say: Say, language: str) -> None:
    name = entry.photograph.name
    drawn = _view(entry, "photograph", language, lambda photograph: seen.picture(photograph, name, say))
    if drawn:
        st.html(drawn)
    else:
        st.caption(say("This file cannot be shown."))


def _note(entry: Entry, say: Say, language: str) -> None:
    """Whether the network saw the whole lesion."""
    if entry.answer is None or _unlike(entry):
        return
    if note := _view(entry, "note", language, lambda photograph: seen.note(photograph, say) or ""):
        st.info(plain(note))


def _explanation(entry: Entry, say: Say, language: str) -> None:
    answer, figures = entry.answer, figures_of(entry)
    assert answer is not None and figures is not None
    id = entry.photograph.id

    def view(photograph: Image.Image) -> str:
        return explanation.view(photograph, answer.prediction, figures, say, id=id)

    try:
        drawn = _view(entry, "explanation", language, view)
    except ValueError:
        drawn = ""
    if not drawn:
        st.caption(say("This file cannot be shown."))
    elif _unlike(entry):
        with st.expander(say("Show the explanation all the same")):
            component.show(drawn, key=f"explanation_{id}")
    else:
        component.show(drawn, key=f"explanation_{id}")


def _unlike(entry: Entry) -> bool:
    details = entry.answer.details if entry.answer is not None else None
    return bool(details and details.out_of_distribution and details.out_of_distribution.flagged)


def _view(entry: Entry, kind: str, language: str, make: Callable[[Image.Image], str]) -> str:
    """What ``make`` makes of the photograph, kept until there is another answer; empty if it cannot be decoded."""
    answer, view = entry.views.get((kind, language), (None, None))
    if view is None or answer is not entry.answer:
        answer = entry.answer
        try:
            view = make(open_photograph(entry.photograph.content))
        except ImageError:
            view = ""
        entry.views[kind, language] = answer, view
    return view


def _buttons(entry: Entry, work: Work, precision: Precision, say: Say, language: str) -> None:
    """Explain, stop, keep, remove; and how far an explanation is."""
    id, task = entry.photograph.id, entry.explanation
    if task is not None and task.pending:
        _progress(entry, say)
    if task is not None and task.error is not None:
        st.error(plain(in_words(task.error, say)))
    with st.container(horizontal=True):
        if task is not None and task.pending:
            st.button(say("Stop"), key=f"stop_{id}", on_click=work.stop, args=(id,))
        elif entry.answer is not None and entry.can_be_explained(precision):
            label = say("Explain") if task is None or task.answer is None else say("Explain again")
            st.button(label, key=f"explain_{id}", on_click=work.explain, args=(precision, id))
        if entry.answer is not None:
            _downloads(entry, say, language)
        st.button(say("Remove"), key=f"remove_{id}", on_click=work.remove, args=(id,), type="tertiary")


def _downloads(entry: Entry, say: Say, language: str) -> None:
    id, stem = entry.photograph.id, PurePath(entry.photograph.name).stem
    st.download_button(
        say("Report"),
        lambda: reports([entry], say, language),
        file_name=f"{stem}.html",
        mime="text/html",
        key=f"report_{id}",
        on_click="ignore",
    )
    explained = entry.answer.explain if entry.answer is not None else None
    if explained is not None:
        st.download_button(
            say("Save as PNG"),
            lambda: explanation_png(explained),
            file_name=f"{stem}_explained.png",
            mime="image/png",
            key=f"save_{id}",
            on_click="ignore",
        )


def _progress(entry: Entry, say: Say) -> None:
    """A bar that moves by itself, without drawing the page anew."""

    def draw() -> None:
        task = entry.explanation
        if task is not None and task.pending:
            text = say("Explaining…") if task.state == "running" else say("Waiting to be explained…")
            st.progress(min(1.0, task.progress), text=text)

    st.fragment(draw, run_every=POLL_SECONDS, key=f"progress_{entry.photograph.id}")()


def plain(text: str) -> str:
    """``text`` escaped for Streamlit's Markdown: names of files and answers may hold its special characters."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)
