"""The options of the command line."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import shtab

from api.address import DEFAULT_URL, parse_address
from api.arguments import precision
from api.classes import CLASSES
from api.client import service_url
from api.pictures import OVERLAYS
from api.request import DEFAULT_PRECISION, PRECISIONS
from api.service_errors import WrongAddress

COMMAND = "mlbio"
"""The installed command, which shell completion is for."""

MAX_JOBS = 64

EPILOG = f"""\
The service is looked for at {DEFAULT_URL}, or where MLBIO_URL says; `make serve` starts it.
MLBIO_API_KEY is the key that it may want. NO_COLOR switches colours off.

exit codes:
  0    every photograph was classified, and its picture saved if one was asked for
  1    some were not; each has a line on stderr, and the others continue
  2    the options are wrong; nothing was sent
  130  interrupted by Ctrl-C
  141  the reader of the output went away (`| head`)
"""


class Options(argparse.Namespace):
    """The checked command line.

    Attributes:
        format: of the rows: ``text``, ``json`` or ``csv``.
        overlay: one of :data:`api.pictures.OVERLAYS`, or None for the picture that the service draws.
        output: folder of pictures and journal; None for pictures next to their photographs.
        timeout: limit in seconds for each photograph; None for the client's own limits.
    """

    image: list[str]
    explain: bool
    precision: str
    overlay: str | None
    format: str
    top: int
    details: bool
    output: Path | None
    resume: bool
    jobs: int
    url: str
    timeout: float | None


def parse(argv: Sequence[str] | None = None) -> Options:
    """Read and check the options; like argparse, exit with code 2 if one is wrong."""
    p = parser()
    options = p.parse_args(argv, Options())
    if options.resume and not options.output:
        p.error("--resume continues in the folder of an earlier run: name it with --output")
    options.explain = options.explain or options.overlay is not None
    return options


def parser() -> argparse.ArgumentParser:
    """The documented options."""
    p = argparse.ArgumentParser(
        description="Classify photographs of skin lesions. For research and teaching only; not a medical device.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    *others, last = PRECISIONS
    top, jobs = _up_to(len(CLASSES)), _up_to(MAX_JOBS)
    p.add_argument("--explain", action="store_true", help="also save a picture of why, as NAME_explained.png")
    p.add_argument(
        "--precision",
        type=precision,
        choices=PRECISIONS,  # for completion; `type` refuses others, with a better message
        metavar="PRECISION",
        default=DEFAULT_PRECISION,
        help=f"how carefully the explanation is computed: {', '.join(others)} or {last} (default: {DEFAULT_PRECISION})",
    )
    p.add_argument(
        "--overlay",
        choices=OVERLAYS,
        help="explain on the whole photograph: regions for the diagnosis in blue, against it in orange",
    )
    formats = p.add_mutually_exclusive_group()
    formats.add_argument(
        "--json", dest="format", action="store_const", const="json", help="a line of JSON for each photograph"
    )
    formats.add_argument("--csv", dest="format", action="store_const", const="csv", help="a CSV table")
    p.set_defaults(format="text")
    p.add_argument("--top", type=top, default=1, metavar="N", help="show the N most probable diagnoses")
    p.add_argument("--details", action="store_true", help="show all probabilities, and figures of the explanation")
    p.add_argument(
        "--output", type=Path, metavar="DIR", help="put pictures there, and a journal of the results, results.jsonl"
    ).complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    p.add_argument("--resume", action="store_true", help="continue an interrupted run: keep the results in DIR")
    p.add_argument("--jobs", type=jobs, default=1, metavar="N", help="send N photographs at once (default: 1)")
    p.add_argument("--url", type=_url, default=service_url(), help="address of the service, instead of MLBIO_URL")
    p.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="longest time for one photograph")
    p.add_argument("--version", action="version", version=f"%(prog)s {version('mlbio')}")
    p.add_argument(
        "--completion",
        action=_Completion,
        choices=shtab.SUPPORTED_SHELLS,
        metavar="SHELL",
        help=f"print a script that completes the command `{COMMAND}`: {', '.join(shtab.SUPPORTED_SHELLS)}",
    )
    p.add_argument(
        "image",
        nargs="+",
        help="JPEG, HEIC, PNG, WebP, BMP, TIFF or GIF file; a folder of them; a quoted pattern; or - for stdin",
    ).complete = shtab.FILE  # type: ignore[attr-defined]
    return p


class _Completion(argparse.Action):
    def __call__(self, p: argparse.ArgumentParser, *arguments: object) -> None:
        p.prog = COMMAND
        print(shtab.complete(p, str(arguments[1])))
        p.exit()


def _url(text: str) -> str:
    try:
        return parse_address(text)
    except WrongAddress as error:
        raise argparse.ArgumentTypeError(f"{error} (here or in MLBIO_URL)") from None


def _up_to(most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"'{text}' must be a number from 1 to {most}")
        return int(text)

    return number


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"'{text}' must be a number of seconds, more than 0 and at most 86,400")
    return seconds
