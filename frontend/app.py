"""The web page.

    streamlit run frontend/app.py        then http://localhost:8501/

It sends photographs to ``POST /predict`` of the service at ``MLBIO_URL`` (default http://127.0.0.1:8089).
"""

from __future__ import annotations

import html
import logging

import streamlit as st
from streamlit.runtime import Runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from api.client import Client, service_url
from api.request import DEFAULT_PRECISION, PRECISIONS, Precision
from api.service_errors import ServiceUnreachable, WrongAddress
from frontend import card, gallery
from frontend.card import escape_markdown
from frontend.i18n import (
    LANGUAGES,
    N_,
    _,
    current_language,
    in_current_language,
    precision_name,
    preferred,
    use_language,
)
from frontend.photographs import examples, photograph
from frontend.results import describe
from frontend.style import language_script, scroll_script, style
from frontend.tasks import TaskQueue

POLL_SECONDS = 0.6  # how often the page checks for answers while it waits for some

EXAMPLE_NAMES = {
    "drawn_keratosis.jpg": N_("keratosis"),
    "drawn_melanoma.jpg": N_("melanoma"),
    "drawn_nevus.jpg": N_("nevus"),
    "drawn_vascular.jpg": N_("vascular"),
}


def main() -> None:
    """Draw the page. Streamlit runs the script again after every click."""
    st.set_page_config(page_title=_("MLBIO – skin lesions"), layout="wide")
    st.html(style())
    st.html(language_script(), unsafe_allow_javascript=True)
    queue = session_queue()
    drawn = queue.version
    queue.resume()

    left, right = st.columns([3, 1], vertical_alignment="center")
    left.title(_("Skin-lesion classifier"), anchor=False)
    with right.container(horizontal=True, horizontal_alignment="right"):
        st.segmented_control(
            _("Language"),
            list(LANGUAGES),
            default=current_language(),
            required=True,
            key="language",
            format_func=LANGUAGES.__getitem__,
            label_visibility="collapsed",
        )
    st.write(_("Upload a dermatoscopic photograph to get a diagnosis, its probability and a picture that explains it."))
    show_status()
    accept_photographs(queue)

    entries = queue.listed()
    if entries:
        precision = show_settings(queue)
        for entry in gallery.show(entries):
            card.show(entry, queue, precision)
        scroll(queue)
    else:
        offer_examples(queue)
    st.caption(
        _(
            "For research and teaching only. This is not a medical device and does not replace an examination by a "
            "physician."
        )
    )
    if queue.pending or queue.version != drawn:  # the last answer may have come while the page was drawn
        st.fragment(lambda: redraw(queue, drawn), run_every=POLL_SECONDS + len(entries) / 200, key="poll")()


def session_queue() -> TaskQueue:
    """This session's photographs and threads. Nothing is started once its page is closed."""
    if "queue" not in st.session_state:
        context = get_script_run_ctx()
        session = context.session_id if context else ""
        st.session_state.queue = TaskQueue(
            Client, lambda: not Runtime.exists() or Runtime.instance().is_active_session(session)
        )
    queue: TaskQueue = st.session_state.queue
    return queue


def redraw(queue: TaskQueue, drawn: int) -> None:
    """Redraw the whole page if anything has happened since version ``drawn``."""
    if queue.version != drawn:
        st.rerun()


@st.cache_data(ttl=2, show_spinner=False)
def service_state(url: str) -> str | WrongAddress:
    """``ready``, ``starting``, ``unreachable``, or why there is no service at this address."""
    try:
        with Client(url) as client:
            return "ready" if client.is_ready(2.0) else "starting"
    except WrongAddress as error:
        return error
    except ServiceUnreachable:
        return "unreachable"


def show_status() -> None:
    """Show whether the service is ready, and keep it up to date."""

    def draw() -> None:
        state = service_state(service_url())
        if isinstance(state, WrongAddress):
            text, state = html.escape(describe(state)), "unreachable"
        elif state == "ready":
            text = _("The service is ready.")
        elif state == "starting":
            text = _("The service is starting. Your photographs will be classified as soon as it is ready.")
        else:
            text = _(
                "The service is not reachable. Start it with make serve in the project's folder; "
                "your photographs will be classified as soon as it is ready."
            )
        st.html(f'<div role="status" class="mlbio-status mlbio-{state}">{text}</div>')

    st.fragment(in_current_language(draw), run_every=5.0, key="status")()


def accept_photographs(queue: TaskQueue) -> None:
    """The uploader and the camera. Photographs go to the queue at once, so the uploader is always empty."""
    generation = st.session_state.setdefault("generation", 0)
    uploads = list(
        st.file_uploader(
            # Any type: a file that the uploader refuses disappears with the next one, whereas one that the service
            # refuses keeps a card.
            _("Photographs: they are classified as soon as you drop them here"),
            accept_multiple_files=True,
            key=f"uploads_{generation}",
        )
    )
    with st.expander(_("Take a photograph"), key="camera", on_change="rerun") as opened:
        # The browser asks for permission to use the camera as soon as it is drawn.
        if opened.open and (shot := st.camera_input(_("Camera"), label_visibility="collapsed", key=f"c{generation}")):
            uploads.append(shot)
    if uploads:
        add(queue, [(upload.name, upload.getvalue()) for upload in uploads])
        st.session_state.generation += 1
        st.rerun()


def add(queue: TaskQueue, files: list[tuple[str, bytes]]) -> None:
    """Classify files; the page scrolls to the first of them when its answer comes."""
    photographs = [photograph(name, content) for name, content in files]
    for added in photographs:
        queue.add(added)
    st.session_state.scroll_to = photographs[0].id


def offer_examples(queue: TaskQueue) -> None:
    """The drawn pictures, to try the page without a photograph."""
    drawn = examples()
    if not drawn:
        return
    st.header(_("Or try an example"), anchor=False)
    with st.container(key="examples"):
        for column, example in zip(st.columns(len(drawn)), drawn, strict=True):
            with column:
                st.image(example.content, width="stretch", alt=_("Photograph {name}").format(name=example.name))
                st.button(
                    _("Try: {name}").format(name=_(EXAMPLE_NAMES.get(example.name, example.name))),
                    key=f"example_{example.name}",
                    on_click=add,
                    args=(queue, [(example.name, example.content)]),
                    width="stretch",
                )
    st.button(
        _("Try all of them"),
        key="all_examples",
        on_click=add,
        args=(queue, [(e.name, e.content) for e in drawn]),
        type="primary",
    )
    st.caption(_("These pictures were drawn by a script. They only show what the output looks like."))


def show_settings(queue: TaskQueue) -> Precision:
    """The precision of explanations, and the buttons for all photographs."""
    entries = queue.listed()
    ids = [e.photograph.id for e in entries]
    with st.container(horizontal=True, vertical_alignment="bottom", key="settings"):
        precision = st.segmented_control(
            _("Precision of explanations"),
            PRECISIONS,
            default=DEFAULT_PRECISION,
            required=True,
            key="precision",
            format_func=precision_name,
            help=_("Low is the fastest; High is the most careful and the slowest."),
        )
        precision = precision or DEFAULT_PRECISION
        if len(entries) > 1:
            if any(e.explanation is not None and e.explanation.pending for e in entries):
                st.button(_("Stop all"), on_click=queue.stop, args=ids, key="stop_all")
            elif any(e.can_be_explained(precision) for e in entries):
                st.button(_("Explain all"), on_click=queue.explain, args=(precision, *ids), key="explain_all")
            st.button(_("Remove all"), on_click=queue.remove, args=ids, key="remove_all", type="tertiary")
    if queue.pending:
        to_classify = sum(e.diagnosis.pending for e in entries)
        to_explain = sum(e.explanation is not None and e.explanation.pending for e in entries)
        parts = []
        if to_classify:
            parts.append(_("{count} to classify").format(count=to_classify))
        if to_explain:
            parts.append(_("{count} to explain").format(count=to_explain))
        st.caption(", ".join(parts))
    if not queue.reachable:
        st.error(
            _("**The service is not reachable** at {url}. Work resumes as soon as it is.").format(
                url=escape_markdown(service_url())
            )
        )
    return precision


def scroll(queue: TaskQueue) -> None:
    """Scroll to the first new photograph, once, when its answer has come."""
    id = st.session_state.get("scroll_to")
    entry = queue.entries.get(id or "")
    if entry is not None and not entry.diagnosis.pending:
        st.session_state.scrolls = st.session_state.get("scrolls", 0) + 1
        st.session_state.scroll_script = scroll_script(entry.photograph.id, st.session_state.scrolls)
        st.session_state.scroll_to = None
    # Drawn every time: a script that is removed before the browser ran it does nothing.
    st.html(st.session_state.get("scroll_script", "<span></span>"), unsafe_allow_javascript=True)


with use_language(st.session_state.get("language") or preferred(st.context.locale)):
    try:
        main()
    except Exception:  # Streamlit's own signals, stop and rerun, are not Exceptions
        logging.getLogger("mlbio.frontend").exception("the page failed")
        st.error(_("Something went wrong in the page itself. Reload it; see the log of `streamlit run` for details."))
