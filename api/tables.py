"""Tables and lists as spreadsheets, shells and data sets write them.

One reader for all: UTF-8 with and without a byte-order mark, UTF-16 and Windows-1252; commas, semicolons and tabs, with
Excel's ``sep=;`` line or without; any line ending; column names in any case, and their usual synonyms; ISIC's one-hot
tables; blank lines and trailing delimiters.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from api.classes import CLASSES, class_code

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "image": ("image_id", "file", "image", "filename", "file_name", "isic_id", "image_name", "path", "photo"),
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


@dataclass(frozen=True)
class Problem:
    """One thing to correct.

    Attributes:
        line: in the file, from 1; None if it concerns the whole file.
        found: what is there.
        expected: what should be.
    """

    line: int | None
    found: str
    expected: str

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line is not None else ""
        return f"{place}found {self.found}, expected {self.expected}"


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

    def refuse(self, row: Row | None, found: str, expected: str) -> None:
        """Note a problem for :meth:`raise_problems`; of a row, only the first."""
        if row is not None and any(problem.line == row.line for problem in self.problems[-1:]):
            return
        self.problems.append(Problem(row.line if row else None, found, expected))

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
            self.refuse(row, f"diagnosis {row['dx']!r}", f"one of {', '.join(CLASSES)}, or the name of one")
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
    lines = io.StringIO(decode(_content(source, name)), newline=None)
    delimiter, skipped = _delimiter(lines)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    table = Table(name, [], [])
    try:
        for cells in reader:
            values = [cell.strip() for cell in cells]
            if not any(values):
                continue
            if not table.columns:
                table.columns = _canonical(values)
                continue
            row = Row(reader.line_num + skipped, dict(zip(table.columns, values, strict=False)))
            if any(values[len(table.columns) :]):
                table.refuse(row, f"{len(values)} values", f"{len(table.columns)}, as in the first line")
            table.rows.append(row)
    except csv.Error as error:
        raise TableError(name, [Problem(reader.line_num + skipped, str(error), "a table (CSV)")]) from None
    _merge_one_hot(table)
    for column in required:
        if column not in table.columns:
            words = " or ".join(SYNONYMS.get(column, (column,))[:3])
            table.refuse(None, f"the columns {', '.join(filter(None, table.columns)) or '(none)'}", f"a column {words}")
    if any(problem.line is None for problem in table.problems):  # the other problems follow from this one
        table.problems = [problem for problem in table.problems if problem.line is None]
        table.raise_problems()
    return table


def read_lines(source: Path | bytes, name: str | None = None) -> list[tuple[int, str]]:
    """The lines of a text file that are not blank, with their numbers, without surrounding blanks.

    Raises:
        TableError: it cannot be read.
    """
    text = decode(_content(source, name or str(source)))
    lines = enumerate(io.StringIO(text, newline=None), 1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def decode(content: bytes) -> str:
    """The text of a file in UTF-8 or UTF-16, with or without a byte-order mark, or else in Windows-1252."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    if b"\0" in content[:64]:  # UTF-16 without a mark: one byte in two of Latin text is zero
        return content.decode("utf-16-le" if content[1:2] == b"\0" else "utf-16-be", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def path_of(text: str) -> PurePosixPath:
    """A path as Linux, macOS or Windows writes it; a drive letter and the root are left out."""
    windows = PureWindowsPath(text.strip())
    return PurePosixPath(*(part for part in windows.parts if part != windows.anchor))


def image_id(text: str) -> str:
    """The name of a photograph without folder and extension."""
    return path_of(text).stem


def _content(source: Path | bytes, name: str) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        return source.read_bytes()
    except OSError as error:
        raise TableError(name, [Problem(None, str(error.strerror).lower(), "a file that can be read")]) from None


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
            table.refuse(row, f"{len(ones)} diagnoses marked with 1", "one")


def _is_one(text: str) -> bool:
    try:
        return float(text or 0) == 1
    except ValueError:
        return False
