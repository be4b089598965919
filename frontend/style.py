"""The parts of the page's appearance that .streamlit/config.toml cannot set."""

from __future__ import annotations

import json

from frontend.i18n import N_, _, current_language

_CSS = """
[data-testid="stMainBlockContainer"] { max-width: 66rem; padding-top: 2rem; }
h1 { font-size: 2rem !important; padding: 0 !important; }
h2 { font-size: 1.35rem !important; }
h3 { font-size: 1.05rem !important; padding: .2rem 0 .6rem !important; overflow-wrap: anywhere; }
/* Streamlit fades these to 60 %, a contrast of 3.8. */
[data-testid="stCaptionContainer"], [data-testid="stCaptionContainer"] *,
[data-testid="stFileUploaderDropzone"] span, [data-testid="stFileUploaderDropzone"] small
  { color: inherit !important; opacity: 1 !important; }
/* Instead of Streamlit's own text, which states its limit rather than the service's. */
[data-testid="stFileUploaderDropzoneInstructions"] span { font-size: 0; }
[data-testid="stFileUploaderDropzoneInstructions"] span::after { font-size: .875rem; white-space: normal; }
.st-key-truth [data-testid="stFileUploaderDropzoneInstructions"] span::after { content: "CSV"; }
[class*="st-key-uploads"] [data-testid="stFileUploaderDropzoneInstructions"] span::after
  { content: var(--mlbio-accepted); }
/* A link to the internet, about the camera. */
[data-testid="stCameraInput"] a[href^="http"] { display: none; }
.mlbio-status { font-size: .9rem; display: flex; align-items: center; gap: .5rem; }
.mlbio-status::before { content: ""; width: .65rem; height: .65rem; border-radius: 50%; background: currentColor; }
.mlbio-ready::before { background: #2e9e5b; }
.mlbio-starting::before { background: #d99a1c; }
.mlbio-unreachable::before { background: #d0453e; }
/* On a wide screen the pictures are to the left of the verdict, which comes first in the document. */
@media (min-width: 640px) {
  [class*="st-key-card_"] [data-testid="stHorizontalBlock"]:has(> [data-testid="stColumn"])
    { flex-direction: row-reverse; }
}
@media (max-width: 640px) {
  [data-testid="stMainBlockContainer"] { padding-left: 1rem; padding-right: 1rem; }
  .st-key-examples [data-testid="stHorizontalBlock"] { flex-wrap: wrap; }
  .st-key-examples [data-testid="stColumn"] { min-width: calc(50% - 1rem); flex: 1 1 calc(50% - 1rem); }
}
"""

WIDGET_TEXTS = (
    N_("Upload"),
    N_("Browse files"),
    N_("Add files"),
    N_("This app would like to use your camera."),
    N_("Take Photo"),
    N_("Clear photo"),
    N_("Switch camera"),
    N_("Search"),
    N_("Type to search"),
    N_("Close Search"),
    N_("Next Result"),
    N_("Previous Result"),
    N_("Fullscreen"),
    N_("Close fullscreen"),
    N_("Download as CSV"),
    N_("Show/hide columns"),
    N_("Clear selection"),
    N_("Sort ascending"),
    N_("Sort descending"),
    N_("Autosize"),
    N_("Pin column"),
    N_("Unpin column"),
    N_("Hide column"),
    N_("Copy column name"),
    N_("Dataframe column menu"),
    N_("Statistics"),
    N_("Close"),
)
"""The texts of Streamlit's own widgets, which it has in English only."""


def style() -> str:
    """The page's style sheet."""
    accepted = json.dumps(_("JPEG, PNG, WebP, BMP, TIFF, GIF or HEIC, at most 24\u00a0MB each"), ensure_ascii=False)
    return f"<style>:root {{ --mlbio-accepted: {accepted}; }}{_CSS}</style>"


def language_script() -> str:
    """Tell the browser and screen readers the page's language, and translate the texts of Streamlit's own widgets.

    Streamlit declares every page to be in English.
    """
    translations = {text: _(text) for text in WIDGET_TEXTS if _(text) != text}
    return f"<script>{_TRANSLATE}mlbioLanguage('{current_language()}', {json.dumps(translations)})</script>"


_TRANSLATE = """
window.mlbioLanguage ??= (() => {
  const attributes = ["aria-label", "title", "placeholder"], own = new WeakMap();
  let words = {};
  // The original text is kept: it is the key, and is restored with English.
  const put = (node, name, text, write) => {
    const kept = own.get(node) ?? {};
    if (text !== kept[name]?.shown) kept[name] = {first: text};
    // Labels may include the widget's name: "Search: the photographs".
    const {first} = kept[name], colon = name === "text" ? -1 : first.indexOf(": ");
    const wanted = words[first.trim()]
      ?? (colon > 0 && words[first.slice(0, colon)] ? `${words[first.slice(0, colon)]} ${first.slice(colon)}` : first);
    kept[name].shown = wanted;
    own.set(node, kept);
    if (wanted !== text) write(wanted);
  };
  const walk = (root) => {
    const nodes = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
    for (let node = root; node; node = nodes.nextNode()) {
      if (node.nodeType === Node.TEXT_NODE) put(node, "text", node.nodeValue, (v) => { node.nodeValue = v; });
      else if (node.getAttribute) for (const a of attributes)
        if (node.hasAttribute(a)) put(node, a, node.getAttribute(a), (v) => node.setAttribute(a, v));
    }
  };
  new MutationObserver((changes) => {
    for (const {type, target, addedNodes} of changes)
      if (type === "childList") addedNodes.forEach(walk); else walk(target);
  }).observe(document.body,
    {subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: attributes});
  return (language, translations) => {
    document.documentElement.lang = language;
    if (JSON.stringify(words) !== JSON.stringify(translations)) { words = translations; walk(document.body); }
  };
})();
"""


def scroll_script(id: str, nonce: int) -> str:
    """Scroll to a photograph's card. A new ``nonce`` makes the browser run the script again."""
    return (
        f"<script>/* {nonce} */ setTimeout(() => document.querySelector('.st-key-card_{id}')"
        "?.scrollIntoView({behavior: 'smooth', block: 'start'}), 300)</script>"
    )
