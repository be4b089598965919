"""The page's texts in several languages."""

from __future__ import annotations

import ast
import gettext
import io
import string
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

from frontend import i18n
from frontend.i18n import (
    LANGUAGES,
    LOCALES,
    _,
    in_current_language,
    ngettext,
    percent,
    preferred,
    use_language,
)
from frontend.locale.update import compiled, extract, update

TRANSLATED = sorted(LANGUAGES.keys() - {i18n.DEFAULT_LANGUAGE})


def po_file(language: str) -> Path:
    return LOCALES / language / "LC_MESSAGES" / "mlbio.po"


def catalogue(language: str):
    return read_po(io.BytesIO(po_file(language).read_bytes()), locale=language)


def fields(text: str) -> tuple[str, ...]:
    return tuple(sorted(name for _, name, _, _ in string.Formatter().parse(text) if name is not None))


def test_languages_are_offered_by_their_own_names():
    assert {"en": "English", "fr": "Français"}.items() <= LANGUAGES.items()


def test_every_text_is_extracted():
    """Babel does not look into f-strings, for example."""
    extracted = {m.id if isinstance(m.id, str) else m.id[0] for m in extract()}
    for module in LOCALES.parent.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("_", "N_", "ngettext"):
                assert {a.value for a in node.args[:1] if isinstance(a, ast.Constant)} <= extracted


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_catalogue_has_every_text_with_the_same_fields(language: str):
    translations = {(m.context, m.id): m.string for m in catalogue(language) if m.id}
    assert translations.keys() == {(m.context, m.id) for m in extract() if m.id}, "run python -m frontend.locale.update"
    for (_context, id), translated in translations.items():
        texts, forms = ([id], [translated]) if isinstance(id, str) else (id, translated)
        assert all(forms), f"{id} is not translated"
        assert {*map(fields, forms)} == {*map(fields, texts)}, id


@pytest.mark.parametrize("language", TRANSLATED)
def test_the_compiled_catalogue_is_up_to_date(language: str):
    assert po_file(language).with_suffix(".mo").read_bytes() == compiled(catalogue(language)), (
        "run python -m frontend.locale.update"
    )


def test_a_new_language_is_one_file(tmp_path: Path):
    file = tmp_path / "de/LC_MESSAGES/mlbio.po"
    update(file)
    file.write_text(file.read_text().replace('msgid "Stop"\nmsgstr ""', 'msgid "Stop"\nmsgstr "Anhalten"'))
    update(file)
    german = gettext.translation("mlbio", tmp_path, ["de"])
    assert (german.gettext("Stop"), german.gettext("Remove")) == ("Anhalten", "Remove")
    before = file.read_bytes()
    update(file)
    assert file.read_bytes() == before


def test_a_plural_follows_the_language():
    def forms() -> list[str]:
        return [ngettext("{count} photograph", "{count} photographs", count).format(count=count) for count in (0, 1, 2)]

    assert forms() == ["0 photographs", "1 photograph", "2 photographs"]
    with use_language("fr"):
        assert forms() == ["0 photographie", "1 photographie", "2 photographies"]


def test_a_language_belongs_to_a_thread():
    """Streamlit runs each session in one, and calls some functions later in another."""
    with use_language("fr"):
        later = in_current_language(lambda: _("Stop"))
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(_, "Stop").result() == "Stop"
        assert _("Stop") == "Arrêter"
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(later).result() == "Arrêter"
    assert _("Stop") == "Stop"


@pytest.mark.parametrize(
    ("locale", "language"),
    [("fr-FR", "fr"), ("fr_CA", "fr"), ("en-GB", "en"), ("frr", "en"), (None, "en")],
)
def test_the_browsers_language_is_used_where_there_is_a_catalogue(locale: str | None, language: str):
    assert preferred(locale) == language


@pytest.mark.parametrize(
    ("share", "english", "french"),
    [
        (0.9512, "95.1%", "95,1\u00a0%"),
        (0.9996, ">99.9%", ">99,9\u00a0%"),
        (0.0004, "<0.1%", "<0,1\u00a0%"),
    ],
)
def test_shares_are_written_as_in_the_language(share: float, english: str, french: str):
    assert percent(share) == english
    with use_language("fr"):
        assert percent(share) == french
