"""Figures that are kept in JSON files beside the score card, for its command to read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from evaluate.dataset import DataError

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
