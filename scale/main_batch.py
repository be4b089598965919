"""Classify a folder or a listing of photographs, of any size, into Parquet files; explain them on request.

    python scale/main_batch.py PHOTOGRAPHS --output RESULTS [--explain Faible]

An interrupted run continues when the same command is given again. RESULTS gets part-*.parquet, and _errors.csv with the
photographs that could not be read. With --address it runs on a Ray cluster, whose machines all see the photographs and
RESULTS under the same paths.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import logging
import os
import re
import secrets
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from api.archive import ARCHIVE
from api.arguments import UsageError, ensure_writable_folder, positive, precision
from api.request import PRECISIONS

ROOT = Path(__file__).resolve().parent.parent
PROG = "main_batch.py"
SHARD, EXPLAIN_SHARD = 512, 16
"""Photographs per Parquet file; a killed run repeats at most one file per worker."""

CONNECT_SECONDS = 5.0
STORE_BYTES = 128 * 1024 * 1024
"""Size of a local cluster's object store, which holds decoded photographs."""

QUIET = {"RAY_DATA_DISABLE_PROGRESS_BARS": "1", "RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_DATA_LOG_LEVEL": "CRITICAL"}


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code: 1 where some photographs cannot be read."""
    arguments = parser().parse_args(argv)
    try:
        return run(arguments)
    except KeyboardInterrupt:
        print("\ninterrupted: the same command continues", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """The documented options."""
    p = argparse.ArgumentParser(prog=PROG, description="Classify many photographs into Parquet files.")
    p.add_argument("photographs", type=Path, help="folder, or file with a path a line, or CSV (file)")
    p.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    p.add_argument("--explain", type=precision, metavar="PRECISION", help=f"also explain: {', '.join(PRECISIONS)}")
    p.add_argument("--archive", type=Path, default=ROOT / "model_store" / ARCHIVE, help="model (default: %(default)s)")
    p.add_argument("--address", help="of a running cluster's head, HOST:PORT (default: this machine alone)")
    p.add_argument("--cores", type=positive, help="of each worker (default: all of a machine's)")
    p.add_argument(
        "--shard", type=positive, help=f"photographs of a file (default: {SHARD}, explained {EXPLAIN_SHARD})"
    )
    return p


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    if importlib.util.find_spec("ray") is None:
        return fail("Ray is not installed: sh deploy/install.sh .venv/bin/python --requirements requirements-ray.txt")
    from handler.engines.graphs import GraphsError, packed_version
    from scale.archive import Archive
    from scale.files import ERRORS, BatchError, list_errors, prepare, shard_sizes

    output: Path = arguments.output.resolve()
    try:
        explain = arguments.explain
        archive = Archive.at(arguments.archive)
        ensure_writable_folder(output, "--output")
        shard = arguments.shard or (EXPLAIN_SHARD if explain else SHARD)
        prepare(arguments.photographs, output, shard, packed_version(arguments.archive), explain)
        started = time.monotonic()
        with connected(arguments.address):
            from ray.exceptions import RayError

            from scale import batch

            try:
                batch.run(archive, output, explain, arguments.cores)
            except RayError as error:
                reason = re.sub(r"^[\w.]+(?:Error|Exception): ", "", str(error).strip().splitlines()[-1])
                return fail(f"{reason} (finished files are kept: the same command continues)")
    except (BatchError, GraphsError, UsageError, OSError) as error:
        return fail(str(error))
    failed = list_errors(output)
    note = f", {failed} of them not readable: see {arguments.output / ERRORS}" if failed else ""
    print(f"{sum(shard_sizes(output))} photographs in {arguments.output}, {time.monotonic() - started:.0f} s{note}")
    return 1 if failed else 0


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connect to the cluster at ``address``, or start a local one.

    Raises:
        OSError: this failed. The message says what to do.
    """
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    # Ray reads these variables on import, in this process and in those that it starts.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if address:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65_535:
            raise OSError(f"--address {address} is not HOST:PORT, such as 10.0.0.1:6379")
        try:  # Ray itself tries for minutes
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
        except OSError as error:
            reason = error.strerror or error
            raise OSError(f"no cluster at {address} ({reason}): start it with `ray start --head`") from None
        options["address"] = address
    else:
        if elsewhere := os.environ.pop("RAY_ADDRESS", None):
            print(f"{PROG}: RAY_ADDRESS is ignored: --address {elsewhere} uses that cluster", file=sys.stderr)
        # Otherwise, Ray replaces a loopback address with one that other machines can reach.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        # Excludes other users of this machine.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        options |= {
            "address": "local",
            "_node_ip_address": "127.0.0.1",
            "include_dashboard": False,
            "object_store_memory": STORE_BYTES,
        }
    import ray

    try:
        ray.init(**options)
    except Exception as error:  # Ray has no class of its own for a start that takes too long
        reason = (str(error).strip().splitlines() or [repr(error)])[0]
        raise OSError(f"no cluster at {address or 'this machine'}: {reason}") from None
    try:
        yield
    finally:
        ray.shutdown()


def fail(text: str) -> int:
    """Print an error; returns the exit code."""
    print(f"{PROG}: error: {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
