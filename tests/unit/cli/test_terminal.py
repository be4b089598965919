"""Widths of texts in a terminal."""

from __future__ import annotations

import pytest

from cli.terminal import shorten, width


@pytest.mark.parametrize(("text", "columns"), [("abc", 3), ("e\u0301", 1), ("皮膚", 4), ("", 0)])
def test_width(text: str, columns: int):
    assert width(text) == columns


@pytest.mark.parametrize("most", range(8))
def test_what_is_shortened_fits_and_keeps_its_end(most: int):
    short = shorten("photographs/皮膚.jpg", most)
    assert width(short) <= most
    assert short == "" or "photographs/皮膚.jpg".endswith(short.removeprefix("…"))
