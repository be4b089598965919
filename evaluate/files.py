"""The files in a score card's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from evaluate.dataset import DataError

CARD, TEXT, PREDICTIONS, ARITHMETIC = "score_card.json", "score_card.md", "probabilities.csv", "arithmetic.json"
ROBUSTNESS, TRADE_OFF = "robustness.json", "trade_off.json"
"""Written by evaluate/main_robustness.py and train/main_trade_off.py, and shown in the card."""
ELSEWHERE, OTHER_DISEASES = "elsewhere", "other_diseases.csv"
"""Subfolder for the card of other sources, and a file in it."""

T = TypeVar("T")


def write_json(value: Any, path: Path) -> None:
    """Write a value of msgspec's types, deterministically."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")


def read_json(path: Path, kind: type[T]) -> T | None:
    """Read a value of the type ``kind``; None if the file does not exist.

    Raises:
        DataError: the file has other content.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise DataError(f"{path} has another content than expected ({error}): make it again") from None


def read_measured(path: Path, kind: type[T], sha256: str) -> T | None:
    """As :func:`read_json`, but None if the file belongs to a model with another digest."""
    value: Any = read_json(path, kind)
    return value if value and value.sha256 == sha256 else None
