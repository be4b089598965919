"""Settings from the environment."""

from __future__ import annotations

import pytest

from gateway.settings import Settings


def test_every_field_has_a_variable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLBIO_PORT", "9000")
    monkeypatch.setenv("MLBIO_PREDICT_SECONDS", "2.5")
    monkeypatch.setenv("MLBIO_HOST", "0.0.0.0")
    monkeypatch.setenv("MLBIO_EXPLAIN_QUEUE", "")  # as docker-compose passes what is not set
    assert Settings.from_environment() == Settings(host="0.0.0.0", port=9000, predict_seconds=2.5)


@pytest.mark.parametrize(("name", "text"), [("PORT", "http"), ("PORT", "8.5"), ("EXPLAIN_SECONDS", "long")])
def test_a_word_where_a_number_belongs_is_named(monkeypatch: pytest.MonkeyPatch, name: str, text: str):
    monkeypatch.setenv(f"MLBIO_{name}", text)
    with pytest.raises(SystemExit, match=f"MLBIO_{name}={text}: a number is needed"):
        Settings.from_environment()
