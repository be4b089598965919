"""True diagnoses, for teachers: a CSV file with the columns ``file`` and ``dx``, beside what the model says."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath

from api.classes import CLASSES
from frontend.language import Say
from frontend.work import Entry

_KEYS = {name.lower(): key for key, name in CLASSES.items()} | {key: key for key in CLASSES}


class TruthError(ValueError):
    """The file cannot be used. The message says what to change."""


@dataclass(frozen=True)
class Comparison:
    """Diagnoses beside the truth.

    Attributes:
        counts: photographs by true class and by predicted class, both as keys of :data:`api.classes.CLASSES`.
    """

    counts: Mapping[tuple[str, str], int]

    @property
    def total(self) -> int:
        """Photographs that have both."""
        return sum(self.counts.values())

    @property
    def accuracy(self) -> float:
        """The share of photographs whose diagnosis is right, 0 to 1."""
        return sum(n for (true, seen), n in self.counts.items() if true == seen) / self.total

    @property
    def balanced_accuracy(self) -> float:
        """The mean over the true classes of the share that is right, 0 to 1."""
        classes = sorted({true for true, _ in self.counts})
        shares = []
        for c in classes:
            of_class = sum(n for (true, _), n in self.counts.items() if true == c)
            shares.append(self.counts.get((c, c), 0) / of_class)
        return sum(shares) / len(shares)


def read_truth(content: bytes, say: Say) -> dict[str, str]:
    """The true class of each file name, from a CSV file with commas or semicolons.

    Raises:
        TruthError: not such a file.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise TruthError(say("This is not a CSV file in UTF-8.")) from None
    lines = io.StringIO(text, newline=None)  # with any ends of lines, Excel's for the Macintosh among them
    first = lines.readline()
    lines.seek(0)
    rows = csv.DictReader(lines, delimiter=";" if first.count(";") > first.count(",") else ",")
    truth = {}
    try:
        if not {"file", "dx"} <= set(rows.fieldnames or ()):
            raise TruthError(say("The CSV file needs a header with the columns file and dx."))
        for row in rows:
            key = _KEYS.get((row["dx"] or "").strip().lower())
            if key is None:
                raise TruthError(
                    say("Line {line}: {word} is none of {known}.").format(
                        line=rows.line_num, word=repr(row["dx"] or ""), known=", ".join(CLASSES)
                    )
                )
            truth[_stem(row["file"] or "")] = key
    except csv.Error:
        raise TruthError(say("This is not a CSV file in UTF-8.")) from None
    return truth


def compare(entries: Iterable[Entry], truth: Mapping[str, str]) -> Comparison | None:
    """The photographs that have a diagnosis and a truth; None if there are none."""
    counts: dict[tuple[str, str], int] = {}
    for entry in entries:
        true = truth.get(_stem(entry.photograph.name))
        if true is not None and entry.answer is not None:
            pair = true, _KEYS[entry.answer.prediction.lower()]
            counts[pair] = counts.get(pair, 0) + 1
    return Comparison(counts) if counts else None


def _stem(name: str) -> str:
    """A file's name without folder and extension, which HAM10000's lists leave out."""
    return PurePath(name.strip()).stem.lower()
