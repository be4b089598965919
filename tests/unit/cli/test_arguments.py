"""Options that are refused, with a reason."""

from __future__ import annotations

import pytest

from cli.arguments import parse


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--precision", "grande"], "Importante"),
        (["--jobs", "0"], "1 to 64"),
        (["--top", "8"], "1 to 7"),
        (["--timeout", "nan"], "seconds"),
        (["--resume"], "--output"),
        (["--url", "ftp://127.0.0.1:8089"], "use one such as http://127.0.0.1:8089"),
        (["--url", "http://a..b"], "1 to 63 characters"),
    ],
)
def test_a_wrong_option_is_explained(arguments: list[str], words: str, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse([*arguments, "a.jpg"])
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("url", [" ", "http://", "http://x:99999", "ftp://x", "http://a..b"])
def test_a_wrong_address_of_the_environment_is_explained(url: str, capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLBIO_URL", url)
    with pytest.raises(SystemExit, match="2"):
        parse(["a.jpg"])
    assert "MLBIO_URL" in capsys.readouterr().err
    assert parse(["--url", "other:1/predict", "a.jpg"]).url == "http://other:1"
