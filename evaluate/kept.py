"""The score card's folder, and the figures in it that other commands write as JSON for the card to show."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from evaluate.dataset import DataError

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "model_store/score_card"
CARD, TEXT, ANSWERS, ARITHMETIC = "score_card.json", "score_card.md", "probabilities.csv", "arithmetic.json"
ROBUSTNESS, TRADE_OFF = "robustness.json", "trade_off.json"
"""Written into the folder of the card by evaluate/main_robustness.py and train/main_trade_off.py."""
ELSEWHERE, OTHER_DISEASES = "elsewhere", "other_diseases.csv"
"""Folder of the card of other sources, inside that of HAM10000's, and a file in it."""

T = TypeVar("T")


def write_json(value: Any, path: Path) -> None:
    """Write a value of msgspec's types, with indents."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")


def read_json(path: Path, kind: type[T], what: str) -> T | None:
    """What :func:`write_json` wrote of ``kind``; None if there is no such file.

    Raises:
        DataError: the file does not hold ``what``.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise DataError(f"{path} does not hold {what} ({error})") from None
