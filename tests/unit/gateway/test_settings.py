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


@pytest.mark.parametrize(
    ("name", "text", "needed"),
    [
        ("PORT", "http", "a whole number from 1 to 65535"),
        ("PORT", "8.5", "a whole number from 1 to 65535"),
        ("PAGE_PORT", "70000", "a whole number from 1 to 65535"),
        ("EXPLAIN_SECONDS", "nan", "a number of seconds above 0, at most a day"),
        ("PREDICT_SECONDS", "-1", "a number of seconds above 0, at most a day"),
        ("STOP_SECONDS", "inf", "a number of seconds, 0 or more, at most a day"),
        ("PREDICT_QUEUE", "-3", "a whole number above 0"),
        ("KEY_EXPLANATIONS", "-1", "a whole number, or 0 for no limit"),
        ("KEY_REQUESTS_PER_MINUTE", "many", "a number from 0, for no limit, to a billion"),
    ],
)
def test_what_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, name: str, text: str, needed: str):
    monkeypatch.setenv(f"MLBIO_{name}", text)
    with pytest.raises(SystemExit) as exit:
        Settings.from_environment()
    assert str(exit.value) == f"MLBIO_{name}={text}: it must be {needed}"


def test_an_ipv6_host_is_in_brackets():
    assert Settings(host="::1").url == "http://[::1]:8089"


@pytest.mark.parametrize(
    ("name", "text", "advice"),
    [
        *(
            ("CORS_ORIGINS", text, "https://page.example")
            for text in (
                "page.example", "localhost:3000", "https://page.example/app", "https://*.example", "null", "https://",
                "ftp://page.example", "https://page.example:x", "https://a.example https://b.example",
            )
        ),
        ("TRUSTED_PROXIES", "proxy.example", "10.0.0.0/8"),
        ("TRUSTED_PROXIES", "10.0.0.0/99", "10.0.0.0/8"),
    ],
)  # fmt: skip
def test_what_is_not_an_origin_or_an_address_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, advice: str
):
    monkeypatch.setenv(f"MLBIO_{name}", text)
    with pytest.raises(SystemExit) as exit:
        Settings.from_environment()
    assert f"MLBIO_{name}" in str(exit.value) and text in str(exit.value) and advice in str(exit.value)
