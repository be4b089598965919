"""Translations of the page's texts, which are written in English, with gettext.

    with use_language("fr"):
        _("Remove all")                                     # "Tout retirer"
        _("Photograph {name}").format(name="a.jpg")         # fields are filled in after the translation
        percent(0.9512)                                     # "95,1 %"

A language is one catalogue, ``locale/CODE/LC_MESSAGES/mlbio.po``, compiled to ``mlbio.mo`` next to it; docs/page.md
says how to add and update one.
"""

from __future__ import annotations

import gettext as gnu
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import TypeVar

from api.request import Precision

LOCALES = Path(__file__).parent / "locale"
DEFAULT_LANGUAGE = "en"

_catalogues: dict[str, gnu.NullTranslations] = {DEFAULT_LANGUAGE: gnu.NullTranslations()} | {
    file.parent.parent.name: gnu.translation("mlbio", LOCALES, [file.parent.parent.name])
    for file in sorted(LOCALES.glob("*/LC_MESSAGES/mlbio.mo"))
}

LANGUAGES = {code: catalogue.pgettext("this language's own name", "English") for code, catalogue in _catalogues.items()}
"""The name of each language, in that language, by its code."""

# Not a global: Streamlit runs the script of every session in a thread of its own.
_language: ContextVar[str] = ContextVar("language", default=DEFAULT_LANGUAGE)

T = TypeVar("T")


def current_language() -> str:
    """The code of the language that texts are translated into."""
    return _language.get()


@contextmanager
def use_language(code: str) -> Iterator[None]:
    """Translate into one of :data:`LANGUAGES`, in this thread."""
    token = _language.set(code)
    try:
        yield
    finally:
        _language.reset(token)


def in_current_language(function: Callable[[], T]) -> Callable[[], T]:
    """``function`` in the language of now, for Streamlit to call later, in another thread."""
    code = current_language()

    @wraps(function)  # Streamlit tells fragments apart by their names
    def call() -> T:
        with use_language(code):
            return function()

    return call


def _(text: str) -> str:
    """``text`` in the current language; English where the catalogue lacks it."""
    return _catalogues[_language.get()].gettext(text)


def pgettext(context: str, text: str) -> str:
    """``text`` in the current language, where the same English text has several translations."""
    return _catalogues[_language.get()].pgettext(context, text)


def ngettext(singular: str, plural: str, count: int) -> str:
    """The form for ``count`` in the current language."""
    return _catalogues[_language.get()].ngettext(singular, plural, count)


def N_(text: str) -> str:
    """``text`` as it is, marked to be translated later."""
    return text


def preferred(locale: str | None) -> str:
    """The language for a browser's locale, such as ``fr-CA``: English unless it is one of :data:`LANGUAGES`."""
    code = (locale or "").replace("_", "-").partition("-")[0].lower()
    return code if code in LANGUAGES else DEFAULT_LANGUAGE


def number(value: float, decimals: int) -> str:
    """``value`` with this many decimals."""
    return f"{value:.{decimals}f}".replace(".", pgettext("decimal sign", "."))


def percent(share: float) -> str:
    """``0.9512`` as ``95.1%``. A share that is not quite 0 or 1 is not rounded to it."""
    if 0.9995 <= share < 1:
        return percentage(">" + number(99.9, 1))
    if 0 < share < 0.0005:
        return percentage("<" + number(0.1, 1))
    return percentage(number(100 * share, 1))


def percentage(figure: str) -> str:
    """``figure`` with a percent sign."""
    return _("{figure}%").format(figure=figure)


def precision_name(precision: Precision) -> str:
    """The name that the page shows for a precision, whose value in the contract is French."""
    names: dict[Precision, str] = {"Faible": _("Low"), "Moyenne": _("Medium"), "Importante": _("High")}
    return names[precision]
