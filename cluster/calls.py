"""What travels between the gateway and a replica."""

from __future__ import annotations

from dataclasses import dataclass

from api.request import Request


@dataclass(frozen=True)
class Call:
    """A request for a replica.

    Attributes:
        request: checked by the gateway.
        headers: those of :mod:`api.headers` that TorchServe's handler gets, with names in lower case.
    """

    request: Request
    headers: dict[str, str]
