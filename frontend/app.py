"""The web page.

    streamlit run frontend/app.py        then http://localhost:8501/

It asks the service through ``POST /predict`` at ``MLBIO_URL`` (default http://127.0.0.1:8089).
"""

from __future__ import annotations

import logging
import re
from html import escape
from pathlib import PurePath
from typing import Any

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from api.client import Client, ServiceUnreachable
from api.contract import DEFAULT_PRECISION, PRECISIONS, Details, Prediction
from api.photograph import EXTENSIONS
from frontend.results import Result, Settings, classify
from frontend.thumbnails import thumbnail_png

DISCLAIMER = (
    "For research and teaching only. This is not a medical device and does not replace an examination by a physician."
)

STYLE = """<style>
.mlbio-prediction { font-size: 1.25rem; font-weight: 600; line-height: 1.3; }
.mlbio-probability { font-size: 1rem; opacity: .8; margin-bottom: .6rem; }
.mlbio-bars { display: grid; grid-template-columns: auto minmax(3rem, 1fr) auto; gap: .15rem .6rem;
              align-items: center; font-size: .8rem; line-height: 1.3; }
.mlbio-bar { height: .6rem; border-radius: .3rem; background: rgba(128, 150, 150, .22); overflow: hidden; }
.mlbio-bar > div { height: 100%; background: #2f7d84; }
.mlbio-bars span:nth-child(3n) { text-align: right; font-variant-numeric: tabular-nums; }
</style>"""


def main() -> None:
    """Draw the page. Streamlit runs the script again after every click."""
    st.set_page_config(page_title="MLBIO – skin lesions", layout="centered")
    st.html(STYLE)
    st.bottom.caption(DISCLAIMER)
    st.title("Skin-lesion classifier")
    st.write("Dermatoscopic photographs in; one of seven diagnoses, its probability and a picture of why out.")

    uploads = st.file_uploader(
        "Photographs", type=list(EXTENSIONS), accept_multiple_files=True, help="JPEG, PNG, WebP, BMP, TIFF or GIF."
    )
    settings = choose_settings()
    asked = st.button("Classify", type="primary", disabled=not uploads)

    # Kept per uploaded file, for as long as the file is in the uploader.
    present = {upload.file_id for upload in uploads}
    results: dict[str, Result] = keep(st.session_state.setdefault("results", {}), present)
    thumbnails: dict[str, bytes | None] = keep(st.session_state.setdefault("thumbnails", {}), present)
    for upload in uploads:
        if upload.file_id not in thumbnails:
            thumbnails[upload.file_id] = thumbnail_png(upload.getvalue())

    message = st.container()
    if asked:
        with message:
            ask(uploads, settings, results)
    for upload in uploads:
        show(upload.name, thumbnails[upload.file_id], results.get(upload.file_id), settings)


def choose_settings() -> Settings:
    """The two widgets that choose the settings."""
    left, right = st.columns([1, 1], vertical_alignment="center")
    explain = left.toggle(
        "Explain the diagnosis",
        help="Outlines in green the regions of the photograph that support the diagnosis. It takes longer.",
    )
    precision = right.segmented_control(
        "Precision of the explanation",
        PRECISIONS,
        default=DEFAULT_PRECISION,
        required=True,
        disabled=not explain,
        help="Faible is the quickest, Importante the most careful and the slowest.",
    )
    return Settings(True, precision or DEFAULT_PRECISION) if explain else Settings()


def ask(uploads: list[UploadedFile], settings: Settings, results: dict[str, Result]) -> None:
    """Classify the photographs without a good result of these settings, or all where every one has it."""
    pending = [u for u in uploads if not is_done(results.get(u.file_id), settings)] or list(uploads)
    bar = st.empty()
    with Client() as client:
        for number, upload in enumerate(pending):
            counted = f" ({number + 1} of {len(pending)})" if len(pending) > 1 else ""
            doing = "Explaining" if settings.explain else "Classifying"

            def show_progress(share: float, number: int = number) -> None:
                bar.progress(min(1.0, (number + share) / len(pending)))

            try:
                if len(pending) > 1 or settings.explain:
                    show_progress(0)
                with st.spinner(f"{doing} {plain(upload.name)}{counted} …", show_time=True):
                    # Stored at once, so that it is kept when a click elsewhere ends this run of the script.
                    results[upload.file_id] = classify(client, upload.getvalue(), settings, show_progress)
            except ServiceUnreachable:
                logging.getLogger("mlbio.frontend").warning("the service at %s is not reachable", client.url)
                st.error(
                    f"**The service is not reachable** at {plain(client.url)}. Start it in the project's folder with "
                    "`make serve` (or `docker-compose up -d`), wait until it is ready, and press Classify again."
                )
                break
    bar.empty()


def show(name: str, thumbnail: bytes | None, result: Result | None, settings: Settings) -> None:
    """One photograph with its result."""
    with st.container(border=True):
        st.markdown(f"**{plain(name)}**")
        if result is None or result.answer is None:
            left, right = st.columns([1, 2])
        elif result.settings.explain:
            left, middle, right = st.columns([1, 1, 1.25])
            with middle:
                show_explanation(name, result)
        else:
            left, right = st.columns([1, 2])
        with left:
            if thumbnail is None:
                st.caption("This file cannot be shown.")
            else:
                st.image(thumbnail, width="stretch", alt=f"Photograph {name}")
        with right:
            if result is None:
                st.caption("Not classified yet.")
            elif result.answer is None:
                st.error(plain(result.error or ""))
            else:
                st.html(verdict(result.answer))
                show_warnings(details_of(result.answer))
        if result is not None and result.settings != settings:
            st.info(f"This result was made {plain(str(result.settings))}. Press Classify for one {settings}.")


def show_warnings(details: Details | None) -> None:
    """The warnings that belong to a diagnosis."""
    if details and details.out_of_distribution and details.out_of_distribution.flagged:
        st.warning(
            "This picture is unlike the dermatoscopic photographs that the model was trained on: do not trust the "
            "diagnosis."
        )
    if details and details.malignant and details.malignant.flagged:
        st.warning(
            "Melanoma, basal cell carcinoma and actinic keratoses together: "
            f"{details.malignant.probability:.0%}. That is as high as in photographs of malignant lesions."
        )


def show_explanation(name: str, result: Result) -> None:
    """The picture of the explanation and the button that saves it."""
    if result.answer is None or result.explanation is None:
        st.caption("The service sent no explanation.")
        return
    st.image(result.explanation, width="stretch", output_format="PNG", alt=f"Explanation of {name}")
    details = details_of(result.answer)
    figures = details.explanation if details else None
    quality = f", stability {figures.stability:.0%}, fit R² {figures.r2:.2f}" if figures else ""
    st.caption(
        f"Outlined in green: what supports the diagnosis (precision {plain(result.settings.precision)}{quality}).",
        help="Stability: how many of the strongest regions another set of samples would find again. "
        "Fit R²: how well LIME's simple model copies the network around this photograph.",
    )
    st.download_button(
        "Save as PNG",
        result.explanation,
        file_name=f"{PurePath(name).stem}_explained.png",
        mime="image/png",
        key=f"save {name} {id(result)}",
        on_click="ignore",
    )


def verdict(answer: Prediction) -> str:
    """Diagnosis, probability and a bar per class as HTML, most probable first."""
    details = details_of(answer)
    probabilities = details.probabilities if details else {}
    bars = "".join(
        f"<span>{escape(name)}</span>"
        f'<div class="mlbio-bar"><div style="width:{100 * p:.1f}%"></div></div>'
        f"<span>{percent(p)}</span>"
        for name, p in sorted(probabilities.items(), key=lambda item: -item[1])
    )
    return (
        f'<div class="mlbio-prediction">{escape(answer.prediction)}</div>'
        f'<div class="mlbio-probability">Probability {percent(answer.probability)}</div>'
        f'<div class="mlbio-bars">{bars}</div>'
    )


def details_of(answer: Prediction) -> Details | None:
    """The details of an answer; None from a service that sends none."""
    return answer.details or None


def percent(probability: float) -> str:
    """``0.9512`` as ``95.1%``. A probability that is not quite 0 or 1 is not rounded to it."""
    if 0.9995 <= probability < 1:
        return escape(">99.9%")
    if 0 < probability < 0.0005:
        return escape("<0.1%")
    return f"{100 * probability:.1f}%"


def plain(text: str) -> str:
    """``text`` escaped for Streamlit's Markdown: names of files and answers may hold its special characters."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)


def is_done(result: Result | None, settings: Settings) -> bool:
    """Whether there is an answer with these settings."""
    return result is not None and result.answer is not None and result.settings == settings


def keep(entries: dict[str, Any], present: set[str]) -> dict[str, Any]:
    """Drop the entries of files that were removed from the uploader."""
    for file_id in set(entries) - present:
        del entries[file_id]
    return entries


try:
    main()
except Exception:  # Streamlit's own signals, stop and rerun, are not Exceptions
    logging.getLogger("mlbio.frontend").exception("the page failed")
    st.error("Something went wrong in the page itself. Reload it; the log of `streamlit run` says more.")
