"""Arguments of a command line, checked before anything is computed."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from api.request import ContractError, Precision, normalise_precision


class UsageError(ValueError):
    """The command line asks for something that cannot be done. The message says what to change."""


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    return _whole(text, 1)


def not_negative(text: str) -> int:
    """A whole number of at least 0, for argparse."""
    return _whole(text, 0)


def precision(text: str) -> Precision:
    """A precision of explanations in any spelling, for argparse."""
    try:
        return normalise_precision(text)
    except ContractError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def ensure_writable(path: Path, option: str) -> None:
    """Create the folder of the file ``path`` and check that a file can be put there.

    Raises:
        UsageError: it cannot be written; the message names ``option``.
    """
    if os.path.isdir(path):  # unlike Path.is_dir, it accepts any text
        raise UsageError(f"{option} {path} cannot be written (it is a folder)")
    _try_writing(path, path, option)


def ensure_writable_folder(path: Path, option: str) -> None:
    """Create the folder ``path`` and check that a file can be put there.

    Raises:
        UsageError: it cannot be written; the message names ``option``.
    """
    if os.path.isfile(path):
        raise UsageError(f"{option} {path} cannot be written (it is a file, not a folder)")
    _try_writing(path / "trial", path, option)


def _try_writing(file: Path, path: Path, option: str) -> None:
    trial = file.with_name(file.name + ".partial")
    try:
        trial.parent.mkdir(parents=True, exist_ok=True)
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise UsageError(f"{option} {path} cannot be written ({error.strerror})") from None


def _whole(text: str, minimum: int) -> int:
    if not text.isdecimal() or int(text) < minimum:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least {minimum}")
    return int(text)
