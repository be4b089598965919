"""CSV files that people open in a spreadsheet. :func:`api.tables.read_table` reads what is written with this."""

from __future__ import annotations

from typing import Any

BOM = "\ufeff"
"""At the beginning of a CSV file in UTF-8, which Excel takes for Windows-1252 without it."""

_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")


def cell(value: Any) -> Any:
    """``value``; a text that a spreadsheet would run as a formula gets a space in front.

    The beginnings are those of OWASP's "CSV Injection". Excel and LibreOffice show the text with its space, and readers
    that strip blanks get it back as it was.
    """
    return f" {value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value
