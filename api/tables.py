"""Tables and lists as spreadsheets, shells and data sets write them.

One reader for all: UTF-8 with and without a byte-order mark, UTF-16 and Windows-1252; commas, semicolons and tabs, with
Excel's ``sep=;`` line or without; any line ending; column names in any case, and their usual synonyms; ISIC's one-hot
tables; blank lines and trailing delimiters.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from api.classes import CLASSES, class_code

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "image": ("file", "path", "image_id", "image", "filename", "file_name", "isic_id", "image_name", "photo"),
    "dx": ("dx", "diagnosis", "label", "class", "truth", "target"),
    "lesion_id": ("lesion_id", "lesion"),
    "age": ("age", "age_approx"),
    "sex": ("sex", "gender"),
    "localization": ("localization", "localisation", "site", "anatom_site_general"),
}
"""Accepted names of each column, in the order of preference. All other columns keep their names, in lower case."""

OTHER_DISEASES = ("scc", "unk")
"""Columns of ISIC's one-hot tables that are none of our classes."""

MAX_REPORTED = 10
"""Problems that one error message lists."""

_DELIMITERS = ",;\t"
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")


@dataclass(frozen=True)
class Problem:
    """One thing to correct.

    Attributes:
        line: in the file, from 1; None if it concerns the whole file.
        found: what is there, with ``{names}`` of values; so that a client can translate it.
        expected: what should be, likewise.
        values: by these names.
    """

    line: int | None
    found: str
    expected: str
    values: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line is not None else ""
        return f"{place}found {self.with_values(self.found)}, expected {self.with_values(self.expected)}"

    def with_values(self, text: str) -> str:
        """``found`` or ``expected``, or a translation of it, with the values in it."""
        return text.format(**self.values) if self.values else text


class TableError(ValueError):
    """A table cannot be used. The message lists up to :data:`MAX_REPORTED` problems, each with its line.

    Attributes:
        name: of the file.
        problems: all of them.
    """

    def __init__(self, name: str, problems: Sequence[Problem]) -> None:
        self.name, self.problems = name, list(problems)
        shown = [f"{name}: {problem}" for problem in self.problems[:MAX_REPORTED]]
        if len(self.problems) > MAX_REPORTED:
            shown.append(f"… and {len(self.problems) - MAX_REPORTED} more problems in {name}")
        super().__init__("\n".join(shown))


@dataclass
class Row:
    """A row of a table.

    Attributes:
        line: of the file on which it ends, from 1.
        values: by column (see :data:`SYNONYMS`), without surrounding blanks; an absent value is empty.
    """

    line: int
    values: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.values.get(column, "")


@dataclass
class Table:
    """Rows, and what is wrong with them so far: a reader may add problems before it raises them all.

    Attributes:
        name: of the file, for messages.
        columns: by the names that ``rows`` use.
        rows: without blank ones.
        problems: see :meth:`refuse`.
    """

    name: str
    columns: list[str]
    rows: list[Row]
    problems: list[Problem] = field(default_factory=list)

    def refuse(self, row: Row | None, found: str, expected: str, **values: object) -> None:
        """Note a problem, as in :class:`Problem`, for :meth:`raise_problems`; of a row, only the first."""
        if row is not None and any(problem.line == row.line for problem in self.problems[-1:]):
            return
        self.problems.append(Problem(row.line if row else None, found, expected, values))

    def raise_problems(self) -> None:
        """Raise the problems that were noted.

        Raises:
            TableError: there are some.
        """
        if self.problems:
            raise TableError(self.name, sorted(self.problems, key=lambda problem: problem.line or 0))

    def diagnosis(self, row: Row) -> str | None:
        """The class code of a row's ``dx``; None, with a problem noted, if it is no class."""
        code = class_code(row["dx"])
        if code is None:
            expected = "one of {codes}, or the name of one"
            self.refuse(row, "the diagnosis {word}", expected, word=repr(row["dx"]), codes=", ".join(CLASSES))
        return code


def read_table(source: Path | bytes, required: Iterable[str], name: str | None = None) -> Table:
    """Read a table.

    Args:
        source: a file, or its content.
        required: columns that must be there, by the keys of :data:`SYNONYMS` or their own names.
        name: of the file, for messages; its path unless given.

    Raises:
        TableError: it cannot be read, is not a table, or lacks a column.
    """
    name = name or (str(source) if isinstance(source, Path) else "the table")
    text = _text(source, name)
    lines = io.StringIO(text, newline=None)
    delimiter, skipped = _delimiter(lines)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    table = Table(name, [], [])
    header: list[str] = []
    start = last = skipped  # the lines before and at the end of a row
    try:
        for cells in reader:
            start, last = last, reader.line_num + skipped
            values = [cell.strip() for cell in cells]
            if not any(values):
                continue
            if not table.columns:
                header, table.columns = values, _canonical(values)
                continue
            row = Row(last, dict(zip(table.columns, values, strict=False)))
            if any(values[len(table.columns) :]):
                expected = "{columns}, as in the first line"
                table.refuse(row, "{count} values", expected, count=len(values), columns=len(table.columns))
            table.rows.append(row)
        unclosed = last > start + 1 and text.count('"') % 2 == 1
    except csv.Error:  # a value of over 128 KiB
        start, unclosed = last, True
    if unclosed:
        raise TableError(name, [Problem(start + 1, "a quotation mark without its pair", "two")])
    _merge_one_hot(table)
    missing = [column for column in required if column not in table.columns]
    if missing:  # the other problems follow from this one
        columns = ", ".join(filter(None, header[:MAX_REPORTED]))
        found = "the columns {columns}" if columns else "nothing"
        table.problems = []
        for column in missing:
            names = " / ".join(SYNONYMS.get(column, (column,))[:3])
            table.refuse(None, found, "a column {names}", columns=columns, names=names)
        table.raise_problems()
    return table


def read_lines(source: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not blank, with their numbers from 1, without surrounding blanks.

    The file may be larger than the memory.

    Raises:
        TableError: it cannot be read.
    """
    try:
        with source.open("rb") as file:
            encoding = encoding_of(iter(lambda: file.read(2**20), b""))
        with source.open(encoding=encoding, errors=_errors(encoding)) as text:
            for number, line in enumerate(text, 1):
                if line := line.strip():
                    yield number, line
    except OSError as error:
        raise _unreadable(str(source), error) from None


def encoding_of(content: Iterable[bytes]) -> str:
    """The encoding of a text: UTF-8 or UTF-16, with or without a byte-order mark, or else Windows-1252."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    first = True
    try:
        for part in content:
            if first and part.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                return "utf-16"
            if first and b"\0" in part[:64]:  # UTF-16 without a mark: one byte in two of Latin text is zero
                return "utf-16-le" if part[1:2] == b"\0" else "utf-16-be"
            decoder.decode(part)
            first = False
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"


def path_of(text: str) -> PurePosixPath:
    """A path as Linux, macOS or Windows writes it; a drive letter and the root are left out."""
    windows = PureWindowsPath(text.strip())
    return PurePosixPath(*(part for part in windows.parts if part != windows.anchor))


def image_id(text: str) -> str:
    """The name of a photograph without folder and extension."""
    return path_of(text).stem


def _errors(encoding: str) -> str:
    """How to decode what is not of this encoding: single bytes are kept, as in the names of files."""
    return "replace" if encoding.startswith("utf-16") else "surrogateescape"


def _text(source: Path | bytes, name: str) -> str:
    try:
        content = source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise _unreadable(name, error) from None
    encoding = encoding_of([content])
    if content.startswith(_WORKBOOKS):
        raise TableError(name, [Problem(None, "a workbook or an archive", "a table, which spreadsheets save as CSV")])
    text = content.decode(encoding, _errors(encoding))
    if "\0" in text:
        raise TableError(name, [Problem(None, "something else than text", "a table (CSV)")])
    return text


def _unreadable(name: str, error: OSError) -> TableError:
    reason = str(error.strerror or error).lower()
    return TableError(name, [Problem(None, "{reason}", "a file that can be read", {"reason": reason})])


def _delimiter(lines: io.StringIO) -> tuple[str, int]:
    """The delimiter, and the lines that were read to find it: ``lines`` is then at the header."""
    first = lines.readline()
    if first.strip().strip('"').lower().startswith("sep="):
        return first.strip().strip('"')[4:5] or "\t", 1
    lines.seek(0)
    header = next((line for line in lines if line.strip()), "")
    lines.seek(0)
    return max(_DELIMITERS, key=header.count), 0


def _canonical(header: Sequence[str]) -> list[str]:
    """The names of the columns; of several synonyms the preferred one is taken, and the others keep their names."""
    names = [cell.strip("\"' ").lower().replace(" ", "_") for cell in header]
    for column, synonyms in SYNONYMS.items():
        chosen = next((synonym for synonym in synonyms if synonym in names), None)
        if chosen is not None:
            names[names.index(chosen)] = column
    return names


def _merge_one_hot(table: Table) -> None:
    """Add ``dx`` to a table with a column of zeros and ones for each class, as ISIC's challenges have them."""
    codes = {name: class_code(name) or name for name in table.columns if class_code(name) or name in OTHER_DISEASES}
    if "dx" in table.columns or len(codes) < 2:
        return
    table.columns.append("dx")
    for row in table.rows:
        ones = [codes[name] for name in codes if _is_one(row[name])]
        if len(ones) == 1:
            row.values["dx"] = ones[0]
        else:
            table.refuse(row, "{count} diagnoses marked with 1", "one", count=len(ones))


def _is_one(text: str) -> bool:
    try:
        return float(text or 0) == 1
    except ValueError:
        return False
