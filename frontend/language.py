"""English and French. The page's texts are written in English, and that text is the key of its translation.

    say = speaker("fr")
    say("Remove all")                               # "Tout retirer"
    say("{count} photographs").format(count=3)      # fields are filled in after the translation
    percent(0.9512, say)                            # "95,1 %"

``frontend/french.py`` has the French texts; a unit test finds every text given to ``say`` that has none.
"""

from __future__ import annotations

from collections.abc import Callable

from api.request import Precision
from frontend.french import TEXTS

Say = Callable[[str], str]
"""Turns an English text into the person's language."""

LANGUAGES = {"en": "English", "fr": "Français"}
"""The names of the languages, each in its own, by their code."""


def speaker(language: str) -> Say:
    """The translation into one of :data:`LANGUAGES`. A text without a translation stays English."""
    if language == "fr":
        return lambda text: TEXTS.get(text, text)
    return lambda text: text


def preferred(locale: str | None) -> str:
    """The language for a browser's locale, such as ``fr-CA``: English unless it is one of :data:`LANGUAGES`."""
    code = (locale or "").replace("_", "-").partition("-")[0].lower()
    return code if code in LANGUAGES else "en"


def number(value: float, decimals: int, say: Say) -> str:
    """``value`` with this many decimals, after a decimal point or comma."""
    return f"{value:.{decimals}f}".replace(".", say("."))


def percent(share: float, say: Say) -> str:
    """``0.9512`` as ``95.1%``. A share that is not quite 0 or 1 is not rounded to it."""
    if 0.9995 <= share < 1:
        figure = ">" + number(99.9, 1, say)
    elif 0 < share < 0.0005:
        figure = "<" + number(0.1, 1, say)
    else:
        figure = number(100 * share, 1, say)
    return say("{figure}%").format(figure=figure)


def precision_name(precision: Precision, say: Say) -> str:
    """What the person sees of a precision, whose value in the contract is French."""
    names: dict[Precision, str] = {"Faible": say("Low"), "Moyenne": say("Medium"), "Importante": say("High")}
    return names[precision]
