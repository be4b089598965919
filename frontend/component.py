"""The explanation's view on the page: Streamlit takes drawings and scripts out of plain HTML, but not out of this."""

from __future__ import annotations

from functools import cache

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

from frontend.viewer import CSS, SET_UP

# Drawing the page anew leaves the view as it is, zoomed for instance, unless its content has changed.
_MOUNT = """
export default ({ data, parentElement }) => {
  if (parentElement.mlbioView === data) return;
  parentElement.mlbioView = data;
  const host = parentElement.querySelector(".mlbio-x-host");
  host.innerHTML = data;
  setUp(host.querySelector(".mlbio-x"));
};
"""


@cache
def _component() -> ComponentRenderer:
    return st.components.v2.component(
        "mlbio_explanation",
        html='<div class="mlbio-x-host"></div>',
        css=CSS,
        js=SET_UP + _MOUNT,
        isolate_styles=False,
    )


def show(view: str, key: str) -> None:
    """Draw what ``explanation.view`` made. ``key`` tells it from others on the page."""
    _component()(data=view, key=key)
