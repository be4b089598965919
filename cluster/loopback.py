"""A cluster that only this machine can reach, for tests and to try things out.

python -m cluster.loopback --head --port=6379 --num-cpus=2 --block          the first node
python -m cluster.loopback --address=127.0.0.1:6379 --num-cpus=2 --block    another one

This is ``ray start``, whose options it takes. Ray puts this machine's outer address in place of 127.0.0.1, and then
listens on all interfaces: here it does not.
"""

from __future__ import annotations

import os
import secrets
import sys
from typing import Any

ADDRESS = "127.0.0.1"
HOSTS = (ADDRESS, "localhost")

_FLAG = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Ray's own name for what decides whether 127.0.0.1 stays as it is."""


def stay_here() -> None:
    """Let 127.0.0.1 be 127.0.0.1 in this process; before ray is imported."""
    os.environ[_FLAG] = "0"


def new_token() -> dict[str, str]:
    """Environment of a cluster that lets in nobody who does not have it: other users of this machine, for example."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def listen_on_the_nodes_address() -> None:
    """In a replica: Ray Serve's own port listens on the address of the node, rather than on all interfaces."""
    import ray
    from ray.serve._private import replica

    bind = replica.add_port_to_grpc_server
    address = ray.util.get_node_ip_address()

    def bind_there(server: Any, everywhere: str) -> int:
        return int(bind(server, f"{address}:{everywhere.rpartition(':')[2]}"))

    replica.add_port_to_grpc_server = bind_there


def main(arguments: list[str]) -> None:
    """``ray start``, without its dashboard and its usage statistics."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray._private import services
    from ray.scripts import scripts

    # `ray start --address` refuses to run with the variable of stay_here().
    services.resolve_ip_for_localhost = lambda host: host
    head = ["--include-dashboard=false"] if "--head" in arguments else []
    scripts.start.main([f"--node-ip-address={ADDRESS}", "--disable-usage-stats", *head, *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
