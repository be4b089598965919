"""The page's script, run by Streamlit's own test runner in front of a service that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import frontend
from api.client import Client
from frontend.i18n import use_language
from frontend.photographs import Photograph, examples
from frontend.style import language_script, style
from frontend.tasks import TaskQueue
from tests.unit.frontend.answers import answer, figures
from tests.unit.frontend.test_tasks import until

APP = Path(frontend.__file__).parent / "app.py"


@pytest.fixture
def page(monkeypatch) -> AppTest:
    monkeypatch.setenv("MLBIO_URL", "http://127.0.0.1:9")
    return AppTest.from_file(APP, default_timeout=60).run()


def test_it_starts_in_english_and_changes_to_french(page):
    assert not page.exception and page.title[0].value == "Skin-lesion classifier"
    assert "Try: melanoma" in [button.label for button in page.button]
    page.segmented_control(key="language").set_value("fr").run()
    assert not page.exception and page.title[0].value == "Classification de lésions cutanées"
    assert "Essayer\u00a0: mélanome" in [button.label for button in page.button]


def test_a_wrong_address_of_the_service_is_explained_in_both_languages(monkeypatch):
    monkeypatch.setenv("MLBIO_URL", "http://a..b/predict")
    page = AppTest.from_file(APP, default_timeout=60).run()
    (status,) = [h.proto.body for h in page.get("html") if 'role="status"' in h.proto.body]
    assert "http://a..b" in status and "is not the address of a service" in status
    page.button(key="example_drawn_nevus.jpg").click().run()
    until(lambda: not page.session_state.queue.pending)
    page.segmented_control(key="language").set_value("fr").run()
    assert not page.exception
    assert any("n'est pas l'adresse d'un service" in error.value.replace("\\", "") for error in page.error)


def test_styles_and_scripts_are_translated_too():
    assert '"JPEG, HEIC, PNG, WebP, BMP, TIFF or GIF, at most 100\u00a0MB each"' in style()
    assert language_script().endswith("mlbioLanguage('en', {})</script>")
    with use_language("fr"):
        assert "100\u00a0Mo au plus par fichier" in style()
        assert '"Take Photo": "Prendre la photo"' in language_script()


class Answering(Client):
    """Answers at once, with an explanation if asked; a file that holds "bad" raises what nobody expects."""

    def predict(self, image, *, explain=False, precision="Moyenne", **_):
        if image == b"bad":
            raise UnicodeError("label too long")
        return answer(figures=figures(precision=precision) if explain else None)


def test_it_draws_diagnoses_explanations_and_failures_in_both_languages(page):
    queue = TaskQueue(lambda: Answering("http://127.0.0.1:9"))
    good, bad = examples()[0], Photograph("bad", "bad.jpg", b"bad")
    for photograph in (good, bad):
        queue.add(photograph)
    queue.explain("Faible", good.id)
    until(lambda: not queue.pending)
    page.session_state.queue = queue
    page.run()
    assert not page.exception and [h.value for h in page.header] == ["2 photographs"]
    assert [e.value for e in page.error][-1].startswith("The page failed to process this photograph")
    assert len(page.dataframe[0].value) == 2
    page.segmented_control(key="language").set_value("fr").run()
    assert not page.exception and [h.value for h in page.header] == ["2 photographies"]
    assert "Expliquer à nouveau" in [button.label for button in page.button]
