"""The command line of ``deploy/ray_serve.py``: the service on Ray Serve.

python deploy/ray_serve.py                              on this machine alone, until Ctrl-C or SIGTERM
python deploy/ray_serve.py --address 127.0.0.1:6379     on the cluster whose head runs here
python deploy/ray_serve.py --address … --update         give a running service another archive, without a pause

Everything listens on this machine's loopback interface unless the cluster was started otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import logging
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from api.archive import ARCHIVE, ArchiveError
from cluster import loopback
from cluster.archive import Archive
from cluster.plan import Plan, PlanError
from gateway.server import make_server
from gateway.settings import Settings
from supervisor.processes import ROOT
from supervisor.processes import print_message as say
from supervisor.startup import ServeError, refuse_bad_keys, refuse_taken_port

PROG = "ray_serve.py"
CONNECT_SECONDS = 5.0
OBJECT_STORE_BYTES = 128 * 1024 * 1024
"""Of a cluster on this machine alone: photographs on their way to a replica."""


class ClusterError(RuntimeError):
    """The service cannot run on Ray. The message says what to do."""


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
        settings = replace(Settings.from_environment(), **({"port": arguments.port} if arguments.port else {}))
        refuse_missing_ray()
        refuse_bad_address(arguments.address, arguments.update)
        archive = Archive.at(arguments.archive)
        if not arguments.update:
            refuse_taken_port(settings.url, "--port")
            refuse_bad_keys(settings)
        run(arguments, settings, archive)
    except KeyboardInterrupt:
        say("stopped")
    except (ArchiveError, ClusterError, PlanError, ServeError) as error:
        print(f"{PROG}: error: {error}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The documented options."""
    p = argparse.ArgumentParser(prog=PROG, description="The service on Ray Serve, on one machine or many.")
    p.add_argument("--address", help="of a running cluster's head, HOST:PORT (default: start one on this machine)")
    p.add_argument("--archive", type=Path, default=ROOT / "model_store" / ARCHIVE, help="at this path on every node")
    p.add_argument("--port", type=int, help="of the gateway (default: MLBIO_PORT, or 8089)")
    p.add_argument("--min-replicas", type=int, help="of each pool (default: 2, or 1 with a single node)")
    p.add_argument("--max-replicas", type=int, help="of each pool, when its queue is long (default: one a node)")
    p.add_argument(
        "--update",
        action="store_true",
        help="give the running service this archive, with the other options as they are given, and end",
    )
    return p


def refuse_missing_ray() -> None:
    """Raise :class:`ClusterError` without Ray."""
    if importlib.util.find_spec("ray") is None:
        raise ClusterError("Ray is not installed: pip install -r requirements-ray.txt")


def refuse_bad_address(address: str | None, needed: bool) -> None:
    """Raise :class:`ClusterError` for an address that is not HOST:PORT, or a missing one that is ``needed``."""
    if address is None and needed:
        raise ClusterError("--update needs --address: of the cluster whose service gets the archive")
    if address is not None and not re.fullmatch(r"[^\s:]+:\d{1,5}", address):
        raise ClusterError(f"--address {address} has to be HOST:PORT")


def refuse_silent_address(address: str) -> None:
    """Raise :class:`ClusterError` if nothing listens there: Ray itself tries for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"no cluster at {address} ({error}): start it with `ray start --head`") from None


def run(arguments: argparse.Namespace, settings: Settings, archive: Archive) -> None:
    """Deploy ``archive`` and, unless that was an update, be the gateway until a signal; then withdraw it.

    Raises:
        ClusterError: there is no cluster at the address, or the replicas do not start.
        api.archive.ArchiveError: the archive holds no model.
        cluster.plan.PlanError: the numbers of replicas make no sense.
        KeyboardInterrupt: SIGINT or SIGTERM, after everything has been stopped.
    """
    started = time.monotonic()
    if arguments.update:
        archive.load()  # an archive without a model is refused here, before a replica of the last one stops
    with connected(arguments.address):
        from cluster.backend import RayServe
        from cluster.deployment import DeploymentError, deploy, is_running, live_nodes, withdraw

        if arguments.update and not is_running():
            raise ClusterError(f"no service runs at {arguments.address}: start it without --update")
        nodes = live_nodes()
        plan = Plan.for_nodes(nodes, settings, arguments.min_replicas, arguments.max_replicas)
        say(f"{'updating' if arguments.update else 'starting'} {plan.least} replicas of each pool, nodes: {nodes} …")
        try:
            deploy(archive, plan)
            if arguments.update:
                say(f"updated after {time.monotonic() - started:.0f} s")
                return
            asyncio.run(serve(settings, RayServe, started))
        except DeploymentError as error:
            raise ClusterError(str(error)) from None
        finally:
            if not arguments.update:
                say("\nstopping the replicas …")
                withdraw()


async def serve(settings: Settings, make_backend: type, started: float) -> None:
    """The gateway until a signal; it finishes the requests that it has."""
    server = make_server(settings, make_backend)
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():
        await asyncio.sleep(0.05)
    if server.started:
        where = f"POST {settings.url}/predict, docs at {settings.url}/docs"
        say(f"a prediction works after {time.monotonic() - started:.0f} s: {where}")
    await serving


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """A connection to the cluster at ``address``, or a cluster of this process's own.

    Raises:
        ClusterError: there is none.
    """
    if address is not None:
        refuse_silent_address(address)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when ray is imported, by it and its processes
    if address is None or address.rpartition(":")[0] in loopback.HOSTS:
        loopback.stay_here()
    if address is None:
        os.environ.update(loopback.new_token())
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    try:
        if address:
            ray.init(address=address, **options)
        else:
            ray.init(
                include_dashboard=False,
                _node_ip_address=loopback.ADDRESS,
                object_store_memory=OBJECT_STORE_BYTES,
                **options,
            )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = (str(error).strip().splitlines() or [repr(error)])[0]
        raise ClusterError(f"no cluster at {address or 'this machine'}: {reason}") from None
    # Ray has set its own. uvicorn has its own in turn while it serves, and raises the signal again when it has ended.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        ray.shutdown()


def _interrupt(number: int, frame: FrameType | None) -> None:
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)  # stopping is not interrupted
    raise KeyboardInterrupt
