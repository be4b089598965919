"""Pictures of explanations: their file names, and drawing and saving them."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from api.answer import Prediction
from api.files import write_atomically
from api.photograph import ImageError, open_photograph
from api.pictures import explanation_png, overlay_png, source_of, with_source
from cli.photographs import STDIN, FileError, Photograph


class Names:
    """File names for pictures that never overwrite a photograph, or the picture of another photograph.

    Each picture contains the name of its photograph, so an earlier picture of the same photograph, by this run or
    another, is replaced. Any other existing file is kept.
    """

    def __init__(self, output: Path | None) -> None:
        self.output = output
        self._reserved: dict[Path, str] = {}  # those not yet written; a written one names its photograph

    def reserve(self, photograph: Photograph) -> Path:
        """A file for the picture of ``photograph``, until :meth:`release`."""
        name = Path("stdin" if photograph.name == STDIN else photograph.name)
        if self.output is not None:
            folder = self.output / photograph.place.parent
        else:
            folder = Path() if photograph.name == STDIN else name.parent
        source = self.source(photograph, folder)
        candidates = itertools.chain(
            [f"{name.stem}_explained.png", f"{name.name}_explained.png"],
            (f"{name.name}_explained_{number}.png" for number in itertools.count(2)),
        )
        path = next(p for c in candidates if self._is_free(p := folder / c, source))
        self._reserved[path] = source
        return path

    def release(self, path: Path) -> None:
        """The picture has been written, or will not be."""
        self._reserved.pop(path, None)

    def _is_free(self, path: Path, source: str) -> bool:
        if path in self._reserved:
            return self._reserved[path] == source
        return not os.path.lexists(path) or source_of(path) == source

    @staticmethod
    def source(photograph: Photograph, folder: Path) -> str:
        """The photograph's path relative to ``folder``, which stays right if both are moved together."""
        name = "stdin" if photograph.name == STDIN else os.path.relpath(photograph.name, folder)
        return os.fsencode(name).decode("utf-8", "backslashreplace")


def save(path: Path, photograph: Photograph, content: bytes, answer: Prediction, overlay: str | None) -> None:
    """Draw the explanation of ``answer`` and write it to ``path``, atomically.

    Raises:
        FileError: the picture cannot be drawn or written.
    """
    try:
        if overlay is None:
            picture = explanation_png(answer.explain or [])
        else:
            explanation = answer.details.explanation if answer.details else None
            if explanation is None:
                raise ValueError
            picture = overlay_png(open_photograph(content), explanation.regions, overlay)
    except ImageError as error:
        raise FileError(f"classified, but its picture cannot be drawn ({error})") from None
    except ValueError:
        raise FileError("classified, but the service sent no picture of why") from None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as partial:
            partial.write_bytes(with_source(picture, Names.source(photograph, path.parent)))
    except OSError as error:
        raise FileError(f"classified, but {path} cannot be written ({error.strerror})") from None
