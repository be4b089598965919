"""Rows on stdout: text, JSON or CSV."""

from __future__ import annotations

import csv
import json
import os
import stat
import sys
from collections.abc import Callable
from typing import Any, TextIO

import msgspec

from api.answer import Prediction
from api.flat import flat
from api.spreadsheet import BOM, cell
from cli.terminal import columns, is_terminal, printable, shorten, width

COLUMNS = (
    "prediction",
    "probability",
    "malignant_probability",
    "malignant",
    "novelty",
    "unlike",
    "plausible",
    "picture",
    "error",
)
"""Of JSON and CSV, without ``--details``."""

_RED, _YELLOW, _PLAIN = "\x1b[1;31m", "\x1b[33m", "\x1b[0m"


class Row(msgspec.Struct):
    """The outcome for one photograph.

    Attributes:
        image: its name.
        answer: of the service, without the pixels of ``explain``; None where there is none.
        picture: the file of the explanation, if it was saved.
        error: what went wrong. Answer and error together: the diagnosis is known, but its picture could not be saved.
        sha256: of the photograph's bytes, by which an interrupted run recognises it; empty if it could not be read.
    """

    image: str
    answer: Prediction | None = None
    picture: str | None = None
    error: str | None = None
    sha256: str = ""


def writer(format: str, top: int, details: bool) -> Callable[[Row], None]:
    """The function that writes a row in the given ``format``, each line at once. CSV's header is written now."""
    if format == "json":
        return lambda row: print(json.dumps(json_row(row, top, details)), flush=True)
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  # file names as they are
    if format == "csv":
        if _is_new_file(sys.stdout):
            sys.stdout.write(BOM)
        table = csv.DictWriter(sys.stdout, csv_columns(top, details), lineterminator="\n")
        table.writeheader()
        sys.stdout.flush()

        def write(row: Row) -> None:
            table.writerow(csv_row(row, top, details))
            sys.stdout.flush()

        return write
    terminal = is_terminal(sys.stdout)
    colour = terminal and not os.environ.get("NO_COLOR")

    def write_text(row: Row) -> None:
        if row.answer is not None:  # an error goes to stderr alone
            print(text_row(row, top, details, columns(sys.stdout) if terminal else None, colour), flush=True)

    return write_text


def _is_new_file(stream: TextIO) -> bool:
    """Whether a shell redirects ``stream`` to a file that is empty so far, rather than to a program or a terminal."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # not a file of the operating system
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == 0


def ranking(answer: Prediction, top: int) -> list[tuple[str, float]]:
    """The ``top`` most probable diagnoses, the most probable first."""
    if top == 1 or not answer.details:
        return [(answer.prediction, answer.probability)]
    return sorted(answer.details.probabilities.items(), key=lambda item: (item[0] != answer.prediction, -item[1]))[:top]


def warnings(answer: Prediction) -> list[str]:
    """The warnings that belong to a diagnosis."""
    if not answer.details:
        return []
    texts = []
    malignant, unlike = answer.details.malignant, answer.details.out_of_distribution
    plausible = answer.details.plausible or []
    if malignant and malignant.flagged:
        texts.append(f"malignant diagnoses together {malignant.probability:.1%}")
    if len(plausible) > 1:
        texts.append(f"cannot be excluded: {', '.join(plausible).lower()}")
    if unlike and unlike.flagged:
        texts.append("unlike the photographs that the model knows: not to be trusted")
    if (explanation := answer.details.explanation) and max(explanation.regions.weights, default=0) <= 0:
        none_matters = "hiding any region of the photograph leaves the diagnosis as it is"
        texts.append("no region supports the diagnosis" if any(explanation.regions.weights) else none_matters)
    return texts


def text_row(row: Row, top: int = 1, details: bool = False, terminal: int | None = None, colour: bool = False) -> str:
    """A line for people, or several with ``details``.

    Args:
        terminal: its width, for aligned columns; None for a pipe or a file.
        colour: whether warnings are coloured.
    """
    assert row.answer is not None
    diagnoses = [f"{name} ({probability:.1%})" for name, probability in ranking(row.answer, top)]
    notes = warnings(row.answer)
    if colour:
        notes = [f"{_RED if note.startswith('malignant') else _YELLOW}{note}{_PLAIN}" for note in notes]
    name = printable(row.image)
    if terminal is None:
        line = f"{name}: {', '.join(diagnoses)}"
    else:
        name_width = max(16, min(40, terminal // 3))
        name = shorten(name, name_width)
        line = f"{name}{' ' * (name_width - width(name))}  "
        line += f"{diagnoses[0]:<38}" if len(diagnoses) == 1 and (notes or row.picture) else ", ".join(diagnoses)
    line += "".join(f"; {note}" for note in notes)
    if row.picture is not None:
        line += f" -> {printable(row.picture)}"
    return "\n".join([line, *(_figures(row.answer) if details else [])])


def _figures(answer: Prediction) -> list[str]:
    if not answer.details:
        return []
    ordered = sorted(answer.details.probabilities.items(), key=lambda item: -item[1])
    lines = [f"    {name:<30} {probability:>6.1%}" for name, probability in ordered]
    if explanation := answer.details.explanation:
        figures = []
        if explanation.stability is not None:
            reached = "reached" if explanation.reached else "not reached"
            figures.append(f"stability {explanation.stability:.2f} (target {explanation.target:.2f} {reached})")
        if explanation.r2 is not None:
            figures.append(f"R² {explanation.r2:.2f}")
        lines.append("    explanation: " + ", ".join([*figures, f"{explanation.samples} samples"]))
    return [*lines, f"    model {answer.details.model.version}"]


def json_row(row: Row, top: int = 1, details: bool = False) -> dict[str, Any]:
    """An object for programs. The keys are always there, but for ``top`` and ``details``, which are asked for."""
    answer, values = row.answer, _values(row)
    fields = {"image": row.image, "success": answer is not None, **{name: values[name] for name in COLUMNS}}
    fields["plausible"] = answer.details.plausible if answer and answer.details else None  # as a list
    if answer is not None and top > 1:
        fields["top"] = [{"diagnosis": name, "probability": p} for name, p in ranking(answer, top)]
    if answer is not None and details:
        fields["details"] = msgspec.to_builtins(answer.details) if answer.details else None
    return fields


def csv_columns(top: int = 1, details: bool = False) -> list[str]:
    """The header of the table."""
    ranks = [f"{kind}_{n}" for n in range(2, top + 1) for kind in ("prediction", "probability")]
    others = [name for name in _values(Row("")) if name not in COLUMNS] if details else []
    return ["image", *COLUMNS, *ranks, *others]


def csv_row(row: Row, top: int = 1, details: bool = False) -> dict[str, Any]:
    """A line of the table; a cell without a value is empty."""
    cells = {"image": row.image} | _values(row)
    if row.answer is not None:
        for n, (name, probability) in enumerate(ranking(row.answer, top)[1:], 2):
            cells |= {f"prediction_{n}": name, f"probability_{n}": probability}
    return {name: cell(cells.get(name)) for name in csv_columns(top, details)}


def _values(row: Row) -> dict[str, Any]:
    return flat(row.answer) | {"picture": row.picture, "error": row.error}
