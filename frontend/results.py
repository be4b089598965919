"""A session's results: rows, files to download, errors in words, and a comparison with the true diagnoses."""

from __future__ import annotations

import csv
import io
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import PurePath
from typing import Any

from PIL import Image

from api.classes import class_code
from api.client import service_key
from api.errors import ErrorCode
from api.flat import flat
from api.limits import MAX_PIXELS, MAX_SIDE
from api.photograph import ImageError, open_photograph
from api.pictures import explanation_png
from api.service_errors import RequestRefused, ServiceError, ServiceTimeout
from api.tables import MAX_REPORTED, TableError, image_id, read_table
from frontend import report
from frontend.i18n import DEFAULT_LANGUAGE, N_, _, pgettext, use_language
from frontend.tasks import Entry

_BUSY = N_("The service is busy. Try again in a moment.")
_TOOK_TOO_LONG = N_("The service took too long. Try again in a moment.")

_PHOTOGRAPH_ERRORS = {
    ErrorCode.EMPTY_IMAGE: N_("This file is empty. Choose another one."),
    ErrorCode.NOT_AN_IMAGE: N_(
        "This file is not a photograph that can be read. Choose a JPEG, HEIC, PNG, WebP, BMP, TIFF or GIF file."
    ),
    ErrorCode.DAMAGED_IMAGE: N_("This photograph is damaged or incomplete. Copy it again, or save it as JPEG or PNG."),
    ErrorCode.IMAGE_TOO_LARGE: N_(
        "This photograph has too many pixels. Make it smaller: a JPEG may have {pixels} million, "
        "other formats fewer, and neither side may exceed {side}."
    ),
    ErrorCode.TOO_LARGE: N_("This file is too large. Make the photograph smaller."),
}

_ERRORS = _PHOTOGRAPH_ERRORS | {
    ErrorCode.UNAUTHORIZED: N_("The service requires an API key. Set MLBIO_API_KEY where you start the page."),
    ErrorCode.BUSY: _BUSY,
    ErrorCode.RATE_LIMITED: _BUSY,
    ErrorCode.UNAVAILABLE: _BUSY,
    ErrorCode.TOO_SLOW: _TOOK_TOO_LONG,
    ErrorCode.TIMEOUT: _TOOK_TOO_LONG,
}

_PERMANENT = {
    *_PHOTOGRAPH_ERRORS,
    ErrorCode.UNSUPPORTED_IMAGE,
    ErrorCode.INVALID_REQUEST,
    ErrorCode.NOT_FOUND,
    ErrorCode.METHOD_NOT_ALLOWED,
}


def describe(error: Exception) -> str:
    """An error in words for the user of the page. One without a text of the page's is shown as it came."""
    if isinstance(error, ServiceTimeout):
        return _(_TOOK_TOO_LONG)
    if isinstance(error, RequestRefused) and not error.fields:  # in the service's words
        if error.code is ErrorCode.UNAUTHORIZED and service_key():
            return _("The service refuses the API key in MLBIO_API_KEY. Correct it where you start the page.")
        if error.code in _ERRORS:
            side = f"{MAX_SIDE:,}".replace(",", pgettext("thousands separator", ","))
            return _(_ERRORS[error.code]).format(pixels=MAX_PIXELS // 1_000_000, side=side)
    if isinstance(error, ServiceError):
        return error.message(_)
    return _("The page failed to process this photograph. See the log of `streamlit run` for details.")


def is_retryable(error: Exception) -> bool:
    """Whether the same photograph may succeed later."""
    return not (isinstance(error, RequestRefused) and error.code in _PERMANENT)


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


_TABLE_PROBLEMS = (  # of api.tables
    N_("the diagnosis {word}"),
    N_("one of {codes}, or the name of one"),
    N_("{count} diagnoses marked with 1"),
    N_("one"),
    N_("{count} values"),
    N_("{columns}, as in the first line"),
    N_("the columns {columns}"),
    N_("nothing"),
    N_("a column {names}"),
    N_("a quotation mark without its pair"),
    N_("two"),
    N_("something else than text"),
    N_("a table (CSV)"),
    N_("a workbook or an archive"),
    N_("a table, which spreadsheets save as CSV"),
)


class TruthError(ValueError):
    """The file cannot be used. The message says what to change."""


@dataclass(frozen=True)
class Comparison:
    """Diagnoses compared with the truth.

    Attributes:
        counts: photographs by true class and by predicted class, both as codes of :data:`api.classes.CLASSES`.
    """

    counts: Mapping[tuple[str, str], int]

    @property
    def total(self) -> int:
        """Photographs that have both."""
        return sum(self.counts.values())

    @property
    def accuracy(self) -> float:
        """The share of photographs whose diagnosis is right, 0 to 1."""
        return sum(n for (true, predicted), n in self.counts.items() if true == predicted) / self.total

    @property
    def balanced_accuracy(self) -> float:
        """The mean over the true classes of the share that is right, 0 to 1."""
        classes = sorted({true for true, predicted in self.counts})
        shares = []
        for c in classes:
            of_class = sum(n for (true, predicted), n in self.counts.items() if true == c)
            shares.append(self.counts.get((c, c), 0) / of_class)
        return sum(shares) / len(shares)


def read_truth(content: bytes) -> dict[str, str]:
    """The true class of each photograph, by the lower-case name of its file without extension, from a table.

    Raises:
        TruthError: it is no table, or has other diagnoses, or two of a photograph.
    """
    truth: dict[str, str] = {}
    lines: dict[str, int] = {}
    try:
        table = read_table(content, ("image", "dx"))
        for row in table.rows:
            name, code = _stem(row["image"]), table.diagnosis(row)
            if code is None:
                continue
            if truth.setdefault(name, code) != code:
                found = N_("{name} again, with another diagnosis than on line {first}")
                table.refuse(row, found, N_("one diagnosis"), name=row["image"], first=lines[name])
            lines.setdefault(name, row.line)
        table.raise_problems()
    except TableError as error:
        raise TruthError("\n\n".join(_described(error))) from None
    return truth


def _described(error: TableError) -> list[str]:
    """The problems of a table in the language of the page."""
    described = []
    for problem in error.problems[:MAX_REPORTED]:
        found, expected = (problem.with_values(_(text)) for text in (problem.found, problem.expected))
        if problem.line is None:
            described.append(_("Found {found}, expected {expected}.").format(found=found, expected=expected))
        else:
            text = _("Line {line}: found {found}, expected {expected}.")
            described.append(text.format(line=problem.line, found=found, expected=expected))
    if len(error.problems) > MAX_REPORTED:
        described.append(_("… and {count} more.").format(count=len(error.problems) - MAX_REPORTED))
    return described


def compare(entries: Iterable[Entry], truth: Mapping[str, str]) -> Comparison | None:
    """The photographs that have a diagnosis and a truth; None if there are none."""
    counts = Counter(
        (truth[stem], code)
        for entry in entries
        if entry.answer is not None
        and (stem := _stem(entry.photograph.name)) in truth
        and (code := class_code(entry.answer.prediction))
    )
    return Comparison(counts) if counts else None


def _stem(name: str) -> str:
    """A file's name without folder and extension, which HAM10000's metadata leave out."""
    return image_id(name).lower()
