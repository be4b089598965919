"""Classify a folder or a listing of photographs, of any size, into Parquet files; explain them on request.

    python deploy/batch.py PHOTOGRAPHS --output RESULTS [--explain Faible]

An interrupted run goes on when the same command is given again. RESULTS gets part-*.parquet, and errors.csv with the
photographs that could not be read. With --address it runs on a Ray cluster, whose machines all see the photographs and
RESULTS under the same paths.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Before Ray is imported.
os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
os.environ.setdefault("RAY_DATA_LOG_LEVEL", "CRITICAL")

from api.archive import ArchiveError
from api.arguments import positive
from api.request import PRECISIONS, ContractError, parse_form
from bulk.listing import ListingError
from bulk.plan import RunError, prepare
from bulk.results import ERRORS
from bulk.worker import Task
from cluster.archive import Archive
from cluster.main import ClusterError, connected, refuse_missing_ray
from handler.engines.graphs import GraphsError, packed_version

if TYPE_CHECKING:
    from api.request import Precision

ROOT = Path(__file__).resolve().parent.parent
SHARD, EXPLAIN_SHARD = 512, 16
"""Photographs of a Parquet file, which are done again after a kill."""


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code: 0 also where some photographs cannot be read."""
    arguments = parser().parse_args(argv)
    try:
        return run(arguments)
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """The documented options."""
    p = argparse.ArgumentParser(description="Classify many photographs into Parquet files.")
    p.add_argument("photographs", type=Path, help="folder, or file with a path a line, or CSV (file)")
    p.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    p.add_argument("--explain", metavar="PRECISION", help=f"also explain: {', '.join(PRECISIONS)}")
    p.add_argument("--archive", type=Path, default=ROOT / "model_store/mlbio.mar", help="model (default: %(default)s)")
    p.add_argument("--address", help="of a running cluster's head, HOST:PORT (default: this machine alone)")
    p.add_argument("--cores", type=positive, help="of each worker (default: all of a machine's)")
    p.add_argument(
        "--shard", type=positive, help=f"photographs of a file (default: {SHARD}, explained {EXPLAIN_SHARD})"
    )
    return p


def run(arguments: argparse.Namespace) -> int:
    """Do what the command line says; returns the exit code."""
    try:
        refuse_missing_ray()
        explain = precision(arguments.explain)
        archive = Archive.at(arguments.archive)
        output: Path = arguments.output.resolve()
        shard = arguments.shard or (EXPLAIN_SHARD if explain else SHARD)
        listing = prepare(arguments.photographs, output, shard, packed_version(arguments.archive), explain)
    except (ListingError, RunError, ArchiveError, GraphsError, ClusterError, ContractError, OSError) as error:
        return fail(str(error))
    started = time.monotonic()
    try:
        with contextlib.ExitStack() as stack:
            with unheard():
                stack.enter_context(connected(arguments.address))
            from ray.exceptions import RayError

            from bulk.run import run as run_all

            try:
                outcome = run_all(Task(listing, archive, output, explain, arguments.cores))
            except RayError as error:
                reason = re.sub(r"^[\w.]+(?:Error|Exception): ", "", str(error).strip().splitlines()[-1])
                return fail(f"{reason} (what is done is kept: the same command goes on)")
    except (ClusterError, RunError) as error:
        return fail(str(error))
    note = f", {outcome.failed} of them not readable: see {arguments.output / ERRORS}" if outcome.failed else ""
    print(f"{outcome.photographs} photographs in {arguments.output}, {time.monotonic() - started:.0f} s{note}")
    return 0


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Without what Ray's libraries print to stderr when they start: that their log level has been set."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def precision(text: str | None) -> Precision | None:
    """The contract's name of a precision.

    Raises:
        ContractError: there is none of that name.
    """
    return parse_form(b"", {"precision": text}).precision if text else None


def fail(text: str) -> int:
    """Say why nothing was done; returns the exit code."""
    print(f"batch.py: error: {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
