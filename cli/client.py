"""Classify photographs with a running MLBIO service, a line per photograph.

    python cli/client.py photo.jpg
    python cli/client.py --explain --precision Importante *.jpg

With --explain, the picture of why is saved beside each photograph as NAME_explained.png, or under another name where
that would overwrite one of the photographs. A line ends in a warning when the malignant diagnoses together are too
probable to be ignored, and when the photograph is unlike those that the model was trained on. In a terminal, the
progress of an explanation is shown.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

from api.client import DEFAULT_URL, Client, ServiceError
from api.contract import DEFAULT_PRECISION, PRECISIONS, Prediction
from api.pictures import explanation_png


class FileError(Exception):
    """A photograph cannot be read or a picture cannot be written. The message says why."""


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    photographs = [Path(name) for name in arguments.image]
    failed = False
    with Client() as client:
        for photograph, picture in zip(photographs, picture_paths(photographs), strict=True):
            try:
                line = classify(client, photograph, picture if arguments.explain else None, arguments.precision)
                print(line, flush=True)
            except (ServiceError, FileError) as error:
                failed = True
                print(f"client.py: {photograph}: {error}", file=sys.stderr, flush=True)
    return 1 if failed else 0


def parser() -> argparse.ArgumentParser:
    """The documented options."""
    p = argparse.ArgumentParser(
        description="Classify photographs of skin lesions. For research and teaching only; not a medical device.",
        epilog=f"The service is looked for at {DEFAULT_URL}, or where MLBIO_URL says; `make serve` starts it.",
    )
    p.add_argument("--explain", action="store_true", help="also save a picture of why, beside the photograph")
    *others, last = PRECISIONS
    p.add_argument(
        "--precision",
        default=DEFAULT_PRECISION,
        help=f"how carefully the explanation is computed: {', '.join(others)} or {last} (default: {DEFAULT_PRECISION})",
    )
    p.add_argument("image", nargs="+", help="JPEG, PNG, WebP, BMP, TIFF or GIF file")
    return p


def classify(client: Client, photograph: Path, picture: Path | None, precision: str) -> str:
    """The line about one photograph; its explanation is saved to ``picture``, if given.

    Raises:
        FileError: the photograph cannot be read or the picture cannot be written.
        ServiceError: the service gave no answer.
    """
    try:
        content = photograph.read_bytes()
    except OSError as error:
        raise FileError(f"cannot be read ({error.strerror})") from None
    with Progress(photograph) as progress:
        answer = client.predict(content, explain=picture is not None, precision=precision, on_progress=progress.show)
    line = f"{photograph}: {answer.prediction} ({answer.probability:.1%}){warnings(answer)}"
    if picture is None:
        return line
    try:
        picture.write_bytes(explanation_png(answer.explain or []))
    except ValueError:
        raise FileError("classified, but the service sent no picture of why") from None
    except OSError as error:
        raise FileError(f"classified, but {picture} cannot be written ({error.strerror})") from None
    return f"{line} -> {picture}"


def warnings(answer: Prediction) -> str:
    """The warnings that belong to a diagnosis, as the end of its line."""
    if not answer.details:
        return ""
    text = ""
    malignant, unlike = answer.details.malignant, answer.details.out_of_distribution
    if malignant and malignant.flagged:
        text += f"; malignant diagnoses together {malignant.probability:.1%}"
    if unlike and unlike.flagged:
        text += "; unlike the photographs that the model knows: not to be trusted"
    return text


def picture_paths(photographs: list[Path]) -> list[Path]:
    """A file beside each photograph for its explanation.

    No two are the same, as ``a.jpg`` and ``a.png`` would have it, and none is one of the photographs, as for ``a.jpg``
    and ``a_explained.png``. A picture of an earlier run is overwritten.
    """
    taken = {photograph.resolve() for photograph in photographs}
    paths = []
    for photograph in photographs:
        names = itertools.chain(
            [f"{photograph.stem}_explained.png", f"{photograph.name}_explained.png"],
            (f"{photograph.name}_explained_{number}.png" for number in itertools.count(2)),
        )
        path = next(p for name in names if (p := photograph.parent / name).resolve() not in taken)
        taken.add(path.resolve())
        paths.append(path)
    return paths


class Progress:
    """The progress of one explanation, on a line of the terminal that is erased at the end."""

    def __init__(self, photograph: Path) -> None:
        self.photograph, self.shown = photograph, False

    def show(self, share: float) -> None:
        """``share`` is from 0 to 1. Nothing is written where stderr is not a terminal."""
        if sys.stderr.isatty():
            print(f"\r{self.photograph}: explaining, {share:.0%}", end="\x1b[K", file=sys.stderr, flush=True)
            self.shown = True

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.shown:
            print("\r", end="\x1b[K", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
