"""One photograph on the page: verdict, pictures, and what can be done with it."""

from __future__ import annotations

import re
from html import escape
from pathlib import PurePath

import streamlit as st

from api.contract import Precision, Prediction
from api.pictures import explanation_png
from frontend.errors import in_words
from frontend.language import Say, number, percent, precision_name
from frontend.table import figures_of
from frontend.work import Entry, Work

POLL_SECONDS = 0.5


def show(entry: Entry, work: Work, precision: Precision, say: Say) -> None:
    """Draw a photograph. ``precision`` is that of an explanation to be asked for."""
    id, name = entry.photograph.id, entry.photograph.name
    with st.container(border=True, key=f"card_{id}"):
        st.subheader(plain(name), anchor=False)
        explained = entry.explanation.answer if entry.explanation else None
        has_picture = explained is not None and explained.explain is not None
        # The verdict comes first for screen readers and phones; style.py puts it to the right on a wide screen.
        right, *pictures = st.columns([1.25, 1, 1] if has_picture else [1.6, 1])
        with right:
            _verdict(entry, work, say)
        if explained is not None and has_picture:
            with pictures[0]:
                _explanation(entry, explained, say)
        with pictures[-1]:
            if entry.thumbnail is None:
                st.caption(say("This file cannot be shown."))
            else:
                st.image(entry.thumbnail, width="stretch", alt=say("Photograph {name}").format(name=name))
        _buttons(entry, work, precision, say)


def _verdict(entry: Entry, work: Work, say: Say) -> None:
    answer, diagnosis = entry.answer, entry.diagnosis
    if answer is not None:
        _warnings(answer, say)
        st.html(_diagnosis(answer, say))
    elif diagnosis.error is not None:
        st.error(plain(in_words(diagnosis.error, say)))
        st.button(
            say("Try again"), key=f"retry_{entry.photograph.id}", on_click=work.retry, args=(entry.photograph.id,)
        )
    else:
        st.caption(say("Being classified …") if diagnosis.state == "running" else say("Waiting …"))


def _warnings(answer: Prediction, say: Say) -> None:
    details = answer.details or None
    if details and details.out_of_distribution and details.out_of_distribution.flagged:
        st.warning(
            say("This picture is unlike the photographs that the model was trained on: do not trust the diagnosis.")
        )
    if details and details.malignant and details.malignant.flagged:
        st.warning(
            plain(
                say(
                    "Melanoma, basal cell carcinoma and actinic keratoses together: {share}. "
                    "That is as high as in photographs of malignant lesions."
                ).format(share=percent(details.malignant.probability, say))
            )
        )


def _diagnosis(answer: Prediction, say: Say) -> str:
    """Diagnosis, probability and a bar per class as HTML, most probable first."""
    probabilities = answer.details.probabilities if answer.details else {}
    bars = "".join(
        f"<span>{escape(say(name))}</span>"
        f'<div class="mlbio-bar"><div style="width:{100 * p:.1f}%"></div></div>'
        f"<span>{escape(percent(p, say))}</span>"
        for name, p in sorted(probabilities.items(), key=lambda item: -item[1])
    )
    probability = say("Probability {share}").format(share=percent(answer.probability, say))
    return (
        f'<div class="mlbio-prediction">{escape(say(answer.prediction))}</div>'
        f'<div class="mlbio-probability">{escape(probability)}</div>'
        f'<div class="mlbio-bars">{bars}</div>'
    )


def _explanation(entry: Entry, answer: Prediction, say: Say) -> None:
    name = entry.photograph.name
    png = explanation_png(answer.explain or [])
    st.image(png, width="stretch", output_format="PNG", alt=say("Explanation of {name}").format(name=name))
    text = say("Outlined in green: what supports the diagnosis")
    if figures := figures_of(entry):
        text += say(" (precision {precision}, stability {stability}, fit R² {r2})").format(
            precision=precision_name(figures.precision, say),
            stability=percent(figures.stability, say),
            r2=number(figures.r2, 2, say),
        )
    st.caption(
        plain(text + "."),
        help=say(
            "Stability: how many of the strongest regions another set of samples would find again. "
            "Fit R²: how well LIME's simple model copies the network around this photograph."
        ),
    )
    st.download_button(
        say("Save as PNG"),
        png,
        file_name=f"{PurePath(name).stem}_explained.png",
        mime="image/png",
        key=f"save_{entry.photograph.id}",
        on_click="ignore",
    )


def _buttons(entry: Entry, work: Work, precision: Precision, say: Say) -> None:
    """Explain, stop, continue, remove; and how far an explanation is."""
    id, task = entry.photograph.id, entry.explanation
    if task is not None and task.pending:
        _progress(entry, say)
    if task is not None and task.error is not None:
        st.error(plain(in_words(task.error, say)))
    with st.container(horizontal=True):
        if task is not None and task.pending:
            st.button(say("Stop"), key=f"stop_{id}", on_click=work.stop, args=(id,))
        elif entry.answer is not None and (task is None or task.state != "done" or task.precision != precision):
            if task is None:
                label = say("Explain")
            elif task.state == "stopped":
                label = say("Continue")
            else:
                label = say("Explain again")
            st.button(label, key=f"explain_{id}", on_click=work.explain, args=(precision, id))
        st.button(say("Remove"), key=f"remove_{id}", on_click=work.remove, args=(id,), type="tertiary")


def _progress(entry: Entry, say: Say) -> None:
    """A bar that moves by itself, without drawing the page anew."""

    def draw() -> None:
        task = entry.explanation
        if task is not None and task.pending:
            text = say("Being explained …") if task.state == "running" else say("Waiting to be explained …")
            st.progress(min(1.0, task.progress), text=text)

    st.fragment(draw, run_every=POLL_SECONDS, key=f"progress_{entry.photograph.id}")()


def plain(text: str) -> str:
    """``text`` escaped for Streamlit's Markdown: names of files and answers may hold its special characters."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)
