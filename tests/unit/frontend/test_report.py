"""The report: everything in one file."""

from __future__ import annotations

import re
from datetime import datetime

from PIL import Image

from frontend import report
from frontend.i18n import use_language
from tests.unit.frontend.answers import answer, figures

WHEN = datetime(2026, 11, 25, 8, 30)
PHOTOGRAPH = Image.new("RGB", (600, 450), (200, 150, 130))


def one(name: str = "a.jpg", **changes) -> report.Item:
    return report.Item(name, PHOTOGRAPH, answer(**changes))


def test_it_says_everything_about_a_photograph():
    html = report.html([one(figures=figures())], WHEN)
    for text in ("Report: a.jpg", "2026-11-25 08:30", "not a medical device", "Just above the malignant threshold"):
        assert text in html
    for text in ("Melanocytic nevi", "70.0%", "version 0123456789ab", "explanation: Medium", "Strongest pairs"):
        assert text in html


def test_several_photographs_are_in_one_file_that_loads_nothing():
    html = report.html([one(figures=figures()), one("b.jpg", figures=figures(), unlike=True)], WHEN)
    assert html.count("<article>") == 2
    assert not re.search(r'(?:href|src)="(?!data:image/)', html) and "url(" not in html
    assert set(re.findall(r'type="radio" name="([^"]+)"', html)) == {"view-report0", "view-report1"}
    levels = [int(level) for level in re.findall(r"<h([1-6])", html)]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))


def test_what_is_not_reliable_is_folded_away():
    html = report.html([one(figures=figures(), unlike=True)], WHEN)
    inner = r"<details>(?:(?!</?details>).)*</details>"
    shown = re.sub(inner, "", re.sub(inner, "", html))
    assert "No reliable diagnosis" in shown and "melanocytic nevi" not in shown.lower()


def test_it_can_be_in_french():
    with use_language("fr"):
        html = report.html([one(figures=figures(), unlike=True)], WHEN)
    assert '<html lang="fr">' in html and "Pas de diagnostic fiable" in html and "Établi le 2026-11-25" in html
    assert "Strongest" not in html and "threshold" not in re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)


def test_names_are_escaped_and_a_file_that_cannot_be_shown_is_mentioned():
    html = report.html([report.Item("<script>x</script>", None, answer())], WHEN)
    assert "<script>x" not in html and "This file cannot be shown." in html
