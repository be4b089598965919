"""The web page.

    streamlit run frontend/app.py        then http://localhost:8501/

It speaks to the service only through ``POST /predict`` at ``MLBIO_URL`` (default http://127.0.0.1:8089).
"""

from __future__ import annotations

import logging
import re
import sys
from html import escape
from pathlib import Path, PurePath

import streamlit as st

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `streamlit run` puts only this folder there

from frontend.service import (
    DEFAULT_PRECISION,
    EXTENSIONS,
    PRECISIONS,
    Result,
    Settings,
    Unreachable,
    classify,
    service_url,
    shown,
)

DISCLAIMER = "For research and teaching only. This is no medical device and replaces no examination by a physician."

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
    """Draw the page once; Streamlit calls this again after every click."""
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

    # Photographs and results are kept per uploaded file, for as long as the file is in the uploader.
    present = {upload.file_id for upload in uploads}
    results: dict[str, Result] = keep(st.session_state.setdefault("results", {}), present)
    pictures: dict[str, bytes | None] = keep(st.session_state.setdefault("pictures", {}), present)
    for upload in uploads:
        if upload.file_id not in pictures:
            pictures[upload.file_id] = shown(upload.getvalue())

    message = st.container()
    if asked:
        with message:
            ask(uploads, settings, results)
    for upload in uploads:
        show(upload.name, pictures[upload.file_id], results.get(upload.file_id), settings)


def choose_settings() -> Settings:
    """The two widgets of the settings."""
    left, right = st.columns([1, 1], vertical_alignment="center")
    explain = left.toggle(
        "Explain the diagnosis",
        help="Outlines in green the regions of the photograph that speak for the diagnosis. It takes longer.",
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


def ask(uploads: list, settings: Settings, results: dict[str, Result]) -> None:
    """Classify what has no good result of these settings yet, or everything when all of it has."""
    pending = [u for u in uploads if not is_done(results.get(u.file_id), settings)] or list(uploads)
    bar, url = st.empty(), service_url()
    for number, upload in enumerate(pending):
        counted = f" ({number + 1} of {len(pending)})" if len(pending) > 1 else ""
        doing = "Explaining" if settings.explain else "Classifying"

        def progress(share: float, number: int = number) -> None:
            bar.progress(min(1.0, (number + share) / len(pending)))

        try:
            if len(pending) > 1 or settings.explain:
                progress(0)
            with st.spinner(f"{doing} {plain(upload.name)}{counted} …", show_time=True):
                # Stored at once: what is done stays when somebody clicks elsewhere in the meantime.
                results[upload.file_id] = classify(upload.getvalue(), settings, url, progress)
        except Unreachable:
            logging.getLogger("mlbio.frontend").warning("the service at %s is not reachable", url)
            st.error(
                f"**The service is not reachable** at {plain(url)}. Start it in the project's folder with `make serve` "
                "(or `docker-compose up -d`), wait until it is ready, and press Classify again."
            )
            break
    bar.empty()


def show(name: str, picture: bytes | None, result: Result | None, settings: Settings) -> None:
    """One photograph with what is known about it."""
    with st.container(border=True):
        st.markdown(f"**{plain(name)}**")
        if result is None or result.error:
            left, right = st.columns([1, 2])
        elif result.settings.explain:
            left, middle, right = st.columns([1, 1, 1.25])
            with middle:
                show_explanation(name, result)
        else:
            left, right = st.columns([1, 2])
        with left:
            if picture is None:
                st.caption("This file cannot be shown.")
            else:
                st.image(picture, width="stretch", alt=f"Photograph {name}")
        with right:
            if result is None:
                st.caption("Not classified yet.")
            elif result.error:
                st.error(plain(result.error))
            else:
                st.html(verdict(result))
                show_warnings(result)
        if result is not None and result.settings != settings:
            st.info(f"This result was made {plain(str(result.settings))}. Press Classify for one {settings}.")


def show_warnings(result: Result) -> None:
    """What a reader of the diagnosis should know beside it."""
    if result.unlike:
        st.warning(
            "This picture is unlike the dermatoscopic photographs that the model was trained on: do not trust the "
            "diagnosis."
        )
    if result.malignant is not None:
        st.warning(
            f"Melanoma, basal cell carcinoma and actinic keratoses together: {result.malignant:.0%}. "
            "That is as high as in photographs of malignant lesions."
        )


def show_explanation(name: str, result: Result) -> None:
    """The explanation's picture and the button that saves it."""
    if result.explanation is None:
        st.caption("The service sent no explanation that can be shown.")
        return
    st.image(result.explanation, width="stretch", output_format="PNG", alt=f"Explanation of {name}")
    fit = "" if result.fit is None else f", fit R² {result.fit:.2f}"
    stability = "" if result.stability is None else f", stability {result.stability:.0%}"
    st.caption(
        f"Outlined in green: what speaks for the diagnosis (precision {plain(result.settings.precision)}"
        f"{stability}{fit}).",
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


def verdict(result: Result) -> str:
    """Diagnosis, probability and the bars of all probabilities as HTML, likeliest first."""
    bars = "".join(
        f"<span>{escape(name)}</span>"
        f'<div class="mlbio-bar"><div style="width:{100 * min(max(p, 0), 1):.1f}%"></div></div>'
        f"<span>{percent(p)}</span>"
        for name, p in sorted(result.probabilities.items(), key=lambda item: -item[1])
    )
    return (
        f'<div class="mlbio-prediction">{escape(result.prediction)}</div>'
        f'<div class="mlbio-probability">Probability {percent(result.probability)}</div>'
        f'<div class="mlbio-bars">{bars}</div>'
    )


def percent(probability: float) -> str:
    """``0.9512`` as ``95.1%``; what is only nearly certain or impossible is not rounded to either."""
    if 0.9995 <= probability < 1:
        return escape(">99.9%")
    if 0 < probability < 0.0005:
        return escape("<0.1%")
    return f"{100 * probability:.1f}%"


def plain(text: str) -> str:
    """``text`` so that Streamlit's Markdown shows it as it stands: names of files and answers are not ours."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)


def is_done(result: Result | None, settings: Settings) -> bool:
    """Whether there is an answer of these settings already."""
    return result is not None and result.error is None and result.settings == settings


def keep(entries: dict, present: set[str]) -> dict:
    """Drop from ``entries`` the files that are gone from the uploader."""
    for file_id in set(entries) - present:
        del entries[file_id]
    return entries


try:
    main()
except Exception:  # Streamlit's own signals (stop, rerun) are no Exceptions and pass
    logging.getLogger("mlbio.frontend").exception("the page failed")
    st.error("Something went wrong in the page itself. Reload it; the log of `streamlit run` says more.")
