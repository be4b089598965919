"""True diagnoses, for teaching: a CSV file with the columns ``file`` and ``dx``, compared with the model's."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath

from api.classes import CLASSES
from frontend.i18n import _
from frontend.tasks import Entry

_CODES = {name.lower(): code for code, name in CLASSES.items()} | {code: code for code in CLASSES}


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
    """The true class of each file name, from a CSV file with commas or semicolons.

    Raises:
        TruthError: not such a file.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise TruthError(_("This is not a CSV file in UTF-8.")) from None
    lines = io.StringIO(text, newline=None)  # any line endings, those of Excel for Macintosh included
    first = lines.readline()
    lines.seek(0)
    rows = csv.DictReader(lines, delimiter=";" if first.count(";") > first.count(",") else ",")
    truth = {}
    try:
        if not {"file", "dx"} <= set(rows.fieldnames or ()):
            raise TruthError(_("The CSV file needs a header with the columns file and dx."))
        for row in rows:
            code = _CODES.get((row["dx"] or "").strip().lower())
            if code is None:
                raise TruthError(
                    _("Line {line}: {word} is not one of {codes}.").format(
                        line=rows.line_num, word=repr(row["dx"] or ""), codes=", ".join(CLASSES)
                    )
                )
            truth[_stem(row["file"] or "")] = code
    except csv.Error:
        raise TruthError(_("This is not a CSV file in UTF-8.")) from None
    return truth


def compare(entries: Iterable[Entry], truth: Mapping[str, str]) -> Comparison | None:
    """The photographs that have a diagnosis and a truth; None if there are none."""
    counts = Counter(
        (truth[stem], _CODES[entry.answer.prediction.lower()])
        for entry in entries
        if entry.answer is not None and (stem := _stem(entry.photograph.name)) in truth
    )
    return Comparison(counts) if counts else None


def _stem(name: str) -> str:
    """A file's name without folder and extension, which HAM10000's metadata leave out."""
    return PurePath(name.strip()).stem.lower()
