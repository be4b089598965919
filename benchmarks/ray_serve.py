"""Requests per second and latency of classifications on Ray Serve with one node and two, next to TorchServe.

    .venv/bin/python benchmarks/ray_serve.py                  a drawn example of 600 x 450 pixels

It needs wrk (`apt-get install wrk`) and the extra `ray`. All nodes are on this machine and share its cores: more nodes
cannot make it faster here, and the table shows what Ray costs. Each has a gateway in front.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from benchmarks.common import print_header, print_row
from benchmarks.load import Target, as_json, wrk
from benchmarks.serving import drawn_photograph, ours
from supervisor.processes import free_port

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

CLIENTS = (1, 8, 32)
WARM_UP_SECONDS = 3


def main() -> None:
    """Print the table."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seconds", type=int, default=10, help="of load for each number of clients (default: 10)")
    arguments = p.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("ray_serve.py: wrk is not installed: apt-get install wrk")
    photo = drawn_photograph()
    contestants: dict[str, Callable[[], contextlib.AbstractContextManager[Target]]] = {
        "TorchServe": lambda: ours(photo),
        "Ray Serve, 1 node": lambda: on_ray(photo, 1),
        "Ray Serve, 2 nodes": lambda: on_ray(photo, 2),
    }
    print_header("", "clients", "requests/s", "median ms", "99 %", "failed")
    for name, start in contestants.items():
        with start() as target:
            wrk(target, 8, WARM_UP_SECONDS)
            for clients in CLIENTS:
                load = wrk(target, clients, arguments.seconds)
                figures = f"{load.rate:.1f}", f"{load.p50:.0f}", f"{load.p99:.0f}", str(load.failed)
                print_row(name, str(clients), *figures)


@contextlib.contextmanager
def on_ray(photo: bytes, nodes: int) -> Iterator[Target]:
    """The application on Ray Serve, with a replica of each pool on every node."""
    import ray
    from ray import serve

    from scale.serving import application

    port = free_port()
    with ray_cluster(nodes) as cluster:
        ray.init(cluster.address, log_to_driver=False)
        serve.start(http_options={"host": "127.0.0.1", "port": port}, proxy_location="HeadOnly")
        serve.run(application({"min_replicas": nodes, "max_replicas": nodes}))
        yield Target(f"http://127.0.0.1:{port}/predict", as_json(photo))
        serve.shutdown()


@contextlib.contextmanager
def ray_cluster(nodes: int, cpus: int = 2) -> Iterator[Cluster]:
    """So many Ray nodes on this machine, with so many of Ray's logical CPUs each."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus})
    try:
        for _ in range(nodes - 1):
            cluster.add_node(num_cpus=cpus)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main()
