"""The photographs of a data set's folders, and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from api.folders import Found, Kind, find_photographs
from api.photograph import ImageError, open_photograph

_TAIL = 4096
_DOUBTFUL_SIDE, _DOUBTFUL_PIXELS = 64, 10_000_000


@dataclass
class Photographs:
    """What some folders hold.

    Attributes:
        files: photographs by ``image_id`` (the name without extension), sorted by it.
        unnamed: photographs that the table does not name.
        companions: of a photograph that the table names: masks, explanations, second copies.
        unreadable: ``image_id`` of those that are faults.
        faults: what has to be corrected, a line each.
    """

    files: dict[str, Path] = field(default_factory=dict)
    unnamed: list[Path] = field(default_factory=list)
    companions: list[Path] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """What is left out, a line each."""
        if not self.companions:
            return []
        return [f"left out: {len(self.companions)} masks, explanations and copies ({_some(self.companions)})"]


def photographs_of(folders: Iterable[Path], named: Collection[str]) -> Photographs:
    """The photographs in ``folders``, subfolders included; ``named`` has the ``image_id`` of each row of the table."""
    made = Photographs()
    found = [each for folder in folders for each in find_photographs(folder)]
    found.sort(key=lambda each: (each.kind is Kind.UNREADABLE, each.path.stem, str(each.path)))
    for each in found:
        path, image = each.path, each.path.stem
        first = made.files.get(image)
        if first == path:  # one of the folders is in another one
            continue
        if each.kind is Kind.EXPLANATION or (image not in named and _is_companion(image, named)):
            made.companions.append(path)
        elif each.kind is Kind.UNREADABLE:
            _add_unreadable(made, each, first)
        elif image not in named:
            made.unnamed.append(path)
        elif first is None:
            made.files[image] = path
        elif first.name == path.name and first.stat().st_size == path.stat().st_size:
            made.companions.append(path)
        else:
            made.faults.append(f"{path} and {first} are the same image_id: keep one")
    return made


def _add_unreadable(made: Photographs, found: Found, readable: Path | None) -> None:
    """A camera's RAW file next to its JPEG is no fault."""
    if readable is not None:
        made.companions.append(found.path)
    else:
        made.faults.append(f"{found.path} {found.reason}")
        made.unreadable.add(found.path.stem)


def _is_companion(image: str, named: Collection[str]) -> bool:
    """Whether a name is that of a photograph with something after it, such as ``_segmentation`` or `` (1)``."""
    return any(image[: match.start()] in named for match in re.finditer(r"[ _.(-]", image))


def listed(faults: Sequence[str], most: int = 10) -> str:
    """A line for each fault, up to ``most``."""
    more = [f"… and {len(faults) - most} more"] if len(faults) > most else []
    return "\n".join([*faults[:most], *more])


def _some(paths: Sequence[Path], most: int = 3) -> str:
    return ", ".join([path.name for path in paths[:most]] + (["…"] if len(paths) > most else []))


def header_faults(paths: Sequence[Path], workers: int) -> list[str]:
    """The photographs that cannot be read, a line each, with no more decoded than is necessary."""
    with ThreadPoolExecutor(workers) as pool:
        reasons = pool.map(_header_fault, paths)
        return [f"{path}: {reason}" for path, reason in zip(paths, reasons, strict=True) if reason]


def _header_fault(path: Path) -> str | None:
    """Why a photograph cannot be read: it is decoded only if its size or its end leaves a doubt."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(8)
            file.seek(max(0, size - _TAIL))
            tail = file.read()
        try:
            with Image.open(path) as image:
                width, height = image.size
                is_whole = (
                    (image.format == "JPEG" and b"\xff\xd9" in tail)
                    or (image.format == "PNG" and b"IEND" in tail)
                    or (image.format == "WEBP" and int.from_bytes(head[4:], "little") + 8 <= size)
                )
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            is_whole = False
        if is_whole and min(width, height) >= _DOUBTFUL_SIDE and width * height <= _DOUBTFUL_PIXELS:
            return None
        open_photograph(path.read_bytes())
    except ImageError as error:
        return str(error)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None
