"""Another TorchServe without a stop: the gateway asks the one whose address is in a file.

The supervisor writes the address (:func:`hand_over`). The gateway sends new requests there, finishes those that it has
at the old address, and then confirms in a second file that nothing needs the old TorchServe any more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from gateway.settings import Settings
from gateway.torchserve import TorchServe

POLL_SECONDS = 0.2


def address(settings: Settings) -> str:
    """Where TorchServe is: what the file says, or the settings where there is none."""
    return (settings.torchserve_file and _read(Path(settings.torchserve_file))) or settings.torchserve_url


async def follow(settings: Settings, change: Callable[[str], TorchServe]) -> NoReturn:
    """Keep asking the TorchServe whose address the file holds.

    Args:
        settings: with the file's name.
        change: starts asking another address, and returns the client of the old one.
    """
    file = Path(settings.torchserve_file)
    asked = address(settings)
    _write(_confirmation(file), asked)
    while True:
        await asyncio.sleep(POLL_SECONDS)
        if (now := address(settings)) != asked:
            old, asked = change(now), now
            await asyncio.sleep(POLL_SECONDS)  # a request that chose the old one a moment ago has begun by then
            await old.idle()
            await old.close()
            _write(_confirmation(file), asked)


async def hand_over(file: Path, url: str, seconds: float) -> bool:
    """Have the gateway ask ``url``; returns whether it has finished all else within ``seconds``."""
    _write(file, url)
    deadline = time.monotonic() + seconds
    while _read(_confirmation(file)) != url:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


def _confirmation(file: Path) -> Path:
    return file.with_name(f"{file.name}.confirmed")


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _write(file: Path, text: str) -> None:
    partial = file.with_name(f"{file.name}.partial")
    partial.write_text(text)
    partial.replace(file)
