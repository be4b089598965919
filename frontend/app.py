"""The web page.

    streamlit run frontend/app.py        then http://localhost:8501/

It asks the service through ``POST /predict`` at ``MLBIO_URL`` (default http://127.0.0.1:8089).
"""

from __future__ import annotations

import logging

import streamlit as st
from streamlit.runtime import Runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from api.client import Client, ServiceUnreachable, service_url
from api.request import DEFAULT_PRECISION, PRECISIONS, Precision
from frontend import card, gallery, verdict
from frontend.card import plain
from frontend.language import LANGUAGES, Say, precision_name, preferred, speaker
from frontend.photographs import examples, photograph
from frontend.style import STYLE, language_script, scroll_script
from frontend.work import Work

POLL_SECONDS = 0.6  # how often the page looks whether an answer has come, while one is awaited


def main() -> None:
    """Draw the page. Streamlit runs the script again after every click."""
    language = st.session_state.get("language") or preferred(st.context.locale)
    say = speaker(language)
    st.set_page_config(page_title=say("MLBIO – skin lesions"), layout="wide")
    st.html(STYLE + verdict.STYLE)
    st.html(language_script(language), unsafe_allow_javascript=True)
    work = session_work()
    drawn = work.version
    work.resume()

    left, right = st.columns([3, 1], vertical_alignment="center")
    left.title(say("Skin-lesion classifier"), anchor=False)
    with right.container(horizontal=True, horizontal_alignment="right"):
        st.segmented_control(
            say("Language"),
            list(LANGUAGES),
            default=language,
            required=True,
            key="language",
            format_func=LANGUAGES.__getitem__,
            label_visibility="collapsed",
        )
    st.write(
        say(
            "Upload a dermatoscopic photograph to get one of seven diagnoses, its probability and a picture that "
            "explains it."
        )
    )
    show_status(say)
    take_photographs(work, say)

    entries = work.listed()
    if entries:
        precision = choose(work, say)
        chosen = gallery.show(entries, work, say, language)
        for entry in chosen:
            card.show(entry, work, precision, say, language)
        scroll(work)
    else:
        offer_examples(work, say)
    st.caption(
        say(
            "For research and teaching only. This is not a medical device and does not replace an examination by a "
            "physician."
        )
    )
    if work.pending or work.version != drawn:  # the last answer may have come while the page was drawn
        st.fragment(lambda: redraw(work, drawn), run_every=POLL_SECONDS + len(entries) / 200, key="poll")()


def session_work() -> Work:
    """This session's photographs and threads. Nothing is begun once its page is closed."""
    if "work" not in st.session_state:
        context = get_script_run_ctx()
        session = context.session_id if context else ""
        st.session_state.work = Work(
            Client, lambda: not Runtime.exists() or Runtime.instance().is_active_session(session)
        )
    work: Work = st.session_state.work
    return work


def redraw(work: Work, drawn: int) -> None:
    """Draw the whole page anew if something has happened since ``drawn``."""
    if work.version != drawn:
        st.rerun()


@st.cache_data(ttl=2, show_spinner=False)
def service_state(url: str) -> str:
    """``ready``, ``starting`` or ``unreachable``."""
    with Client(url) as client:
        try:
            return "ready" if client.is_ready(2.0) else "starting"
        except ServiceUnreachable:
            return "unreachable"


def show_status(say: Say) -> None:
    """A line that says whether the service is there, kept up to date."""

    def draw() -> None:
        state = service_state(service_url())
        if state == "ready":
            text = say("The service is ready.")
        elif state == "starting":
            text = say("The service is starting. What you drop is classified as soon as it is ready.")
        else:
            text = say(
                "The service is not reachable. Start it in the project's folder with make serve; "
                "what you drop is classified as soon as it is ready."
            )
        st.html(f'<div role="status" class="mlbio-status mlbio-{state}">{text}</div>')

    st.fragment(draw, run_every=5.0, key="status")()


def take_photographs(work: Work, say: Say) -> None:
    """Where photographs come in. They are taken over at once, so the uploader is always empty."""
    generation = st.session_state.setdefault("generation", 0)
    uploads = list(
        st.file_uploader(
            # Any type: a file that the uploader refuses disappears with the next one, and one that the service refuses
            # keeps a card.
            say("Photographs: they are classified as soon as they are dropped"),
            accept_multiple_files=True,
            key=f"uploads_{generation}",
        )
    )
    with st.expander(say("Take a photograph"), key="camera", on_change="rerun") as opened:
        # The browser asks for the camera as soon as it is drawn.
        if opened.open and (shot := st.camera_input(say("Camera"), label_visibility="collapsed", key=f"c{generation}")):
            uploads.append(shot)
    if uploads:
        add(work, [(upload.name, upload.getvalue()) for upload in uploads])
        st.session_state.generation += 1
        st.rerun()


def add(work: Work, files: list[tuple[str, bytes]]) -> None:
    """Classify files; the first of them is scrolled into view when its answer comes."""
    photographs = [photograph(name, content) for name, content in files]
    for one in photographs:
        work.add(one)
    st.session_state.scroll_to = photographs[0].id


def offer_examples(work: Work, say: Say) -> None:
    """The drawn pictures, to try the page without a photograph."""
    drawn = examples()
    if not drawn:
        return
    st.header(say("Or try an example"), anchor=False)
    with st.container(key="examples"):
        for column, example in zip(st.columns(len(drawn)), drawn, strict=True):
            with column:
                st.image(example.content, width="stretch", alt=say("Photograph {name}").format(name=example.name))
                name = example.name.removeprefix("drawn_").removesuffix(".jpg").capitalize()
                st.button(
                    say("Try: {name}").format(name=say(name).lower()),
                    key=f"example_{example.name}",
                    on_click=add,
                    args=(work, [(example.name, example.content)]),
                    width="stretch",
                )
    st.button(
        say("Try all of them"),
        key="all_examples",
        on_click=add,
        args=(work, [(e.name, e.content) for e in drawn]),
        type="primary",
    )
    st.caption(say("These pictures were drawn by a script. They only show what the output looks like."))


def choose(work: Work, say: Say) -> Precision:
    """The precision of explanations, and what can be done with all photographs."""
    entries = work.listed()
    ids = [e.photograph.id for e in entries]
    with st.container(horizontal=True, vertical_alignment="bottom", key="settings"):
        precision = st.segmented_control(
            say("Precision of explanations"),
            PRECISIONS,
            default=DEFAULT_PRECISION,
            required=True,
            key="precision",
            format_func=lambda p: precision_name(p, say),
            help=say("Low is the quickest, High the most careful and the slowest."),
        )
        precision = precision or DEFAULT_PRECISION
        if len(entries) > 1:
            if any(e.explanation is not None and e.explanation.pending for e in entries):
                st.button(say("Stop all"), on_click=work.stop, args=ids, key="stop_all")
            elif any(e.can_be_explained(precision) for e in entries):
                st.button(say("Explain all"), on_click=work.explain, args=(precision, *ids), key="explain_all")
            st.button(say("Remove all"), on_click=work.remove, args=ids, key="remove_all", type="tertiary")
    if work.pending:
        waiting = sum(e.diagnosis.pending for e in entries)
        explaining = sum(e.explanation is not None and e.explanation.pending for e in entries)
        parts = []
        if waiting:
            parts.append(say("{count} to classify").format(count=waiting))
        if explaining:
            parts.append(say("{count} to explain").format(count=explaining))
        st.caption(", ".join(parts))
    if not work.reachable:
        st.error(
            say("**The service is not reachable** at {url}. The work goes on as soon as it is.").format(
                url=plain(service_url())
            )
        )
    return precision


def scroll(work: Work) -> None:
    """Bring the first new photograph into view, once, when its answer is there."""
    id = st.session_state.get("scroll_to")
    entry = work.entries.get(id or "")
    if entry is not None and not entry.diagnosis.pending:
        st.session_state.scrolls = st.session_state.get("scrolls", 0) + 1
        st.session_state.scroll_script = scroll_script(entry.photograph.id, st.session_state.scrolls)
        st.session_state.scroll_to = None
    # Always drawn, as a script that is taken away before the browser ran it does nothing.
    st.html(st.session_state.get("scroll_script", "<span></span>"), unsafe_allow_javascript=True)


try:
    main()
except Exception:  # Streamlit's own signals, stop and rerun, are not Exceptions
    logging.getLogger("mlbio.frontend").exception("the page failed")
    st.error(
        speaker(st.session_state.get("language") or preferred(st.context.locale))(
            "Something went wrong in the page itself. Reload it; the log of `streamlit run` says more."
        )
    )
