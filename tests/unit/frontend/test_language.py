"""What the page says, in both languages."""

from __future__ import annotations

import ast
import string
from pathlib import Path

import pytest

import frontend
from api.classes import CLASSES
from api.request import PRECISIONS
from frontend.french import TEXTS
from frontend.language import number, percent, precision_name, preferred, speaker

ENGLISH, FRENCH = speaker("en"), speaker("fr")


def said() -> set[str]:
    """Every literal that is given to ``say`` in the page's code."""
    literals: set[str] = set()
    for module in Path(frontend.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say":
                literals |= {a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    return literals


def fields(text: str) -> list[str]:
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)


def test_every_text_of_the_page_has_a_french_one():
    assert len(said()) >= 5
    assert said() - TEXTS.keys() == set()


def test_a_translation_has_the_same_fields():
    assert [text for text, french in TEXTS.items() if fields(text) != fields(french)] == []


def test_every_diagnosis_has_a_french_name():
    assert set(CLASSES.values()) <= TEXTS.keys()


def test_precisions_are_named_in_both_languages():
    assert [precision_name(p, ENGLISH) for p in PRECISIONS] == ["Low", "Medium", "High"]
    assert [precision_name(p, FRENCH) for p in PRECISIONS] == list(PRECISIONS)


@pytest.mark.parametrize(
    ("locale", "language"),
    [("fr-FR", "fr"), ("fr_CA", "fr"), ("FR", "fr"), ("en-GB", "en"), ("de", "en"), ("frr", "en"), ("", "en")],
)
def test_the_browsers_language_is_used_where_the_page_speaks_it(locale: str, language: str):
    assert preferred(locale) == language
    assert preferred(None) == "en"


@pytest.mark.parametrize(
    ("share", "english", "french"),
    [
        (0.9512, "95.1%", "95,1\u00a0%"),
        (1.0, "100.0%", "100,0\u00a0%"),
        (0.9996, ">99.9%", ">99,9\u00a0%"),
        (0.0004, "<0.1%", "<0,1\u00a0%"),
        (0.0, "0.0%", "0,0\u00a0%"),
    ],
)
def test_shares_are_written_as_in_the_language(share: float, english: str, french: str):
    assert (percent(share, ENGLISH), percent(share, FRENCH)) == (english, french)


def test_numbers_have_the_languages_decimal_sign():
    assert (number(1.25, 2, ENGLISH), number(1.25, 2, FRENCH)) == ("1.25", "1,25")
