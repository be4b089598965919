"""Classify photographs with a running MLBIO service, a line per photograph.

    python cli/client.py photo.jpg
    python cli/client.py --explain --precision Importante *.jpg

With --explain the picture of why is saved beside each photograph, as NAME_explained.png. A line says so when the
malignant diagnoses together are too probable to be passed over, and when the photograph is of a kind that the model
does not know. In a terminal, the progress of an explanation is shown while it is computed.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import requests
from PIL import Image

DEFAULT_URL = "http://127.0.0.1:8089"
SECONDS = {False: 40, True: 200}
"""Longest wait for an answer, without and with an explanation. The service itself gives up earlier, and says why."""


class ClientError(Exception):
    """One photograph has no answer. The message says why."""


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    url = os.environ.get("MLBIO_URL", DEFAULT_URL).rstrip("/")
    failed, taken = False, set()
    with requests.Session() as session:
        session.trust_env = False  # a proxy has no business between this and a service on the same machine
        for path in map(Path, arguments.image):
            try:
                with Progress(path) as progress:
                    answer = ask(session, url, path, arguments.explain, arguments.precision, progress.show)
                line = f"{path}: {answer['prediction']} ({answer['probability']:.1%}){warnings(answer)}"
                if arguments.explain:
                    picture = picture_path(path, taken)
                    save(answer["explain"], picture)
                    line += f" -> {picture}"
                print(line, flush=True)
            except ClientError as error:
                failed = True
                print(f"client.py: {path}: {error}", file=sys.stderr, flush=True)
    return 1 if failed else 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        description="Classify photographs of skin lesions. For research and teaching; no medical device.",
        epilog=f"The service is looked for at {DEFAULT_URL}, or where MLBIO_URL says; `make serve` starts it.",
    )
    p.add_argument("--explain", action="store_true", help="also save a picture of why, beside the photograph")
    p.add_argument(
        "--precision",
        default="Moyenne",
        help="how carefully the explanation is computed: Faible, Moyenne or Importante (default: Moyenne)",
    )
    p.add_argument("image", nargs="+", help="JPEG, PNG, WebP, BMP, TIFF or GIF file")
    return p


class Progress:
    """How far the explanation of ``path`` is: a line of the terminal that is gone afterwards."""

    def __init__(self, path: Path) -> None:
        self.path, self.shown = path, False

    def show(self, share: float) -> None:
        """``share`` is between 0 and 1. Where stderr is no terminal, nothing is written."""
        if sys.stderr.isatty():
            print(f"\r{self.path}: explaining, {share:.0%}", end="\x1b[K", file=sys.stderr, flush=True)
            self.shown = True

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.shown:
            print("\r", end="\x1b[K", file=sys.stderr, flush=True)


def ask(
    session: requests.Session,
    url: str,
    path: Path,
    explain: bool,
    precision: str,
    progress: Callable[[float], None],
) -> dict:
    """The service's answer about the photograph in ``path``; ``progress`` hears how far an explanation is.

    Raises:
        ClientError: the file cannot be read, the service cannot be reached, or it refuses the photograph.
    """
    try:
        image = base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise ClientError(f"cannot be read ({error.strerror})") from None
    try:
        with session.post(
            f"{url}/predict",
            json={"image": image, "explain": explain, "precision": precision, "details": True},
            headers={"accept": "application/x-ndjson"},
            timeout=(5, SECONDS[explain]),
            stream=True,
        ) as response:
            answer = last_line(response, progress)
    except requests.Timeout:
        raise ClientError(f"{url} did not answer in time") from None
    except requests.ConnectionError:
        raise ClientError(f"no service at {url}: start it with `make serve`, or set MLBIO_URL") from None
    except requests.RequestException:
        raise ClientError(f"{url} broke off in the middle of its answer: try again") from None
    try:
        if answer["success"]:
            return answer
        reason = answer["error"]
    except (KeyError, TypeError):
        raise ClientError(f"{url} is not an MLBIO service (it answered {response.status_code})") from None
    raise ClientError(reason)


def last_line(response: requests.Response, progress: Callable[[float], None]) -> dict | None:
    """The answer, after lines that say how far it is; None if what came is no JSON."""
    answer = None
    try:
        for line in response.iter_lines(chunk_size=2**16):
            answer = json.loads(line)
            if isinstance(answer, dict) and "progress" in answer:
                progress(answer["progress"])
    except ValueError:
        return None
    return answer


def warnings(answer: dict) -> str:
    """What a reader of the diagnosis should know beside it, as the end of its line."""
    details = answer.get("details") or {}
    text = ""
    if (malignant := details.get("malignant") or {}).get("flagged"):
        text += f"; malignant diagnoses together {malignant['probability']:.1%}"
    if (details.get("out_of_distribution") or {}).get("flagged"):
        text += "; unlike the photographs that the model knows: not to be trusted"
    return text


def picture_path(path: Path, taken: set[Path]) -> Path:
    """Beside the photograph; ``a.jpg`` and ``a.png`` in one call do not overwrite each other's picture."""
    picture = path.with_name(f"{path.stem}_explained.png")
    if picture in taken:
        picture = path.with_name(f"{path.name}_explained.png")
    taken.add(picture)
    return picture


def save(explain: list, picture: Path) -> None:
    """Write the answer's H x W x 3 integers as a PNG file.

    Raises:
        ClientError: the file cannot be written.
    """
    try:
        Image.fromarray(np.array(explain, np.uint8)).save(picture)
    except OSError as error:
        raise ClientError(f"classified, but {picture} cannot be written ({error.strerror})") from None


if __name__ == "__main__":
    sys.exit(main())
