"""The list of photographs without a diagnosis."""

from __future__ import annotations

import csv
from pathlib import Path

from bulk.results import ERRORS, list_errors, part, write_part
from bulk.rows import failed


def test_failures_are_listed_with_their_reasons(tmp_path: Path):
    good = {"file": "/p/a.jpg", "prediction": "Melanoma", "dx": "mel", "probability": 0.5}
    write_part(part(tmp_path, 0), [good, failed("/p/b.jpg", "is empty")], explained=False)
    write_part(part(tmp_path, 1), [failed('/p/"c", d.jpg', "is no picture")], explained=True)
    assert list_errors(tmp_path) == 2
    with (tmp_path / ERRORS).open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["file", "error"], ["/p/b.jpg", "is empty"], ['/p/"c", d.jpg', "is no picture"]]
