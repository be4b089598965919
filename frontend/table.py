"""The photographs of a session as a table, and as files to download."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import PurePath
from typing import Any

from PIL import Image

from api.flat import flat
from api.photograph import ImageError, open_photograph
from api.pictures import explanation_png
from frontend import report
from frontend.errors import describe
from frontend.i18n import DEFAULT_LANGUAGE, _, use_language
from frontend.tasks import Entry


@dataclass(frozen=True)
class Row:
    """A photograph in numbers; None where the answer lacks them.

    Attributes:
        malignant_probability, malignant: of the malignant diagnoses together; whether it is flagged.
        novelty, unlike: how unlike the training photographs it is; whether that is flagged.
        plausible: the diagnoses that cannot be excluded, the most probable first, separated by ``"; "``.
        stability: of the explanation, 0 to 1.
    """

    file: str
    diagnosis: str | None = None
    probability: float | None = None
    malignant_probability: float | None = None
    malignant: bool | None = None
    novelty: float | None = None
    unlike: bool | None = None
    plausible: str | None = None
    stability: float | None = None
    error: str | None = None


def row(entry: Entry) -> Row:
    """The row of a photograph."""
    answer, name = entry.answer, entry.photograph.name
    if answer is None:
        error = entry.diagnosis.error
        return Row(name, error=None if error is None else describe(error))
    columns = flat(answer)
    plausible = answer.details.plausible if answer.details else None
    return Row(
        name,
        _(answer.prediction),
        answer.probability,
        **{key: columns[key] for key in ("malignant_probability", "malignant", "novelty", "unlike")},
        plausible="; ".join(map(_, plausible)) if plausible else None,
        stability=entry.figures.stability if entry.figures else None,
    )


def to_csv(entries: Iterable[Entry]) -> bytes:
    """A line per photograph, in UTF-8; always in English, for programs."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow([field.name for field in fields(Row)])
    with use_language(DEFAULT_LANGUAGE):
        for entry in entries:
            writer.writerow([_cell(value) for value in asdict(row(entry)).values()])
    return file.getvalue().encode()


def to_report(entries: Iterable[Entry]) -> bytes:
    """One HTML file about all photographs that have an answer."""
    items = [report.Item(e.photograph.name, _decoded(e), e.answer) for e in entries if e.answer is not None]
    return report.html(items, datetime.now()).encode() if items else b""


def to_zip(entries: Iterable[Entry]) -> bytes:
    """The table, the report and the pictures of the explanations."""
    entries = list(entries)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mlbio.csv", to_csv(entries))
        if report_file := to_report(entries):
            archive.writestr("report.html", report_file)
        for number, entry in enumerate(entries, 1):
            if entry.answer is not None and entry.answer.explain is not None:
                # Two photographs may have the same name.
                name = f"{number:03d}_{PurePath(entry.photograph.name).stem}_explained.png"
                archive.writestr(name, explanation_png(entry.answer.explain))
    return file.getvalue()


def _decoded(entry: Entry) -> Image.Image | None:
    try:
        return open_photograph(entry.photograph.content)
    except ImageError:
        return None


def _cell(value: Any) -> Any:
    """A cell; a text that a spreadsheet would run as a formula is quoted."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value
