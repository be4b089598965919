"""Settings of the gateway and the supervisor, from environment variables."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, fields
from typing import Annotated, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from api.limits import MAX_REQUEST

MAX_BODY = MAX_REQUEST
"""Largest request body in bytes. TorchServe's own limit is a little above."""


Port = Annotated[int, Meta(ge=1, le=65535, description="a whole number from 1 to 65535")]
Number = Annotated[int, Meta(ge=1, description="a whole number above 0")]
Limit = Annotated[int, Meta(ge=0, description="a whole number, or 0 for no limit")]
Rate = Annotated[float, Meta(ge=0, le=1e9, description="a number from 0, for no limit, to a billion")]
Seconds = Annotated[float, Meta(gt=0, le=86_400, description="a number of seconds above 0, at most a day")]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Patience = Annotated[float, Meta(ge=0, le=86_400, description="a number of seconds, 0 or more, at most a day")]


@dataclass(frozen=True)
class Settings:
    """Each is set by the environment variable of its name: ``MLBIO_PORT``, ``MLBIO_TORCHSERVE_URL`` and so on."""

    host: str = "127.0.0.1"
    port: Port = 8089
    page_port: Port = 8501
    """Of the web page, where it is started together with the service (``make app``)."""
    page_host: str = ""
    """Host name under which a proxy serves the page; the page refuses others than this and localhost."""
    torchserve_url: str = "http://127.0.0.1:8080"
    torchserve_peers: str = ""
    """Host name of all model servers, where there are several: a cancellation is sent to each."""
    hold_socket: str = ""
    """Unix socket for holding requests (:mod:`gateway.hold`); `make serve` sets it, for `make promote`."""
    hold_seconds: Seconds = 20.0
    """Longest that a request is held while the model server restarts with another model."""
    predict_seconds: Seconds = 30.0
    explain_seconds: Seconds = 180.0
    predict_queue: Number = 96
    """Most classifications running or waiting, a little below TorchServe's own queue (``config.properties``)."""
    explain_queue: Number = 8
    """Most explanations running or waiting; more are refused at once rather than after minutes."""
    queue_bytes: Number = 256 * 1024 * 1024
    """Most bytes held, for each of: arriving bodies, classifications, explanations."""
    address_requests: Limit = 64
    """Most connections, and requests in progress, from one address (of IPv6, one /64 network); 0 for no limit."""
    trusted_proxies: str = ""
    """Addresses or networks, separated by commas, of proxies whose ``X-Forwarded-For`` is believed. They have no limit
    of their own, and neither has this machine, which is always one of them."""
    stop_seconds: Patience = 30.0
    """Seconds that running requests have to finish when the gateway is stopped."""
    api_keys_file: str = ""
    """File of API keys (:mod:`gateway.keys`); without one, no key is needed."""
    key_requests_per_minute: Rate = 120.0
    """Most predictions a minute with one API key; 0 for no limit."""
    key_explanations: Limit = 4
    """Most explanations running or waiting with one API key, so that it leaves some to others; 0 for no limit."""
    cors_origins: str = ""
    """Origins, separated by commas, whose pages may send requests from a browser; none unless given."""
    log_file: str = ""
    """Where the gateway logs, in files that rotate; stderr unless given."""
    log_bytes: Number = 10_000_000
    """Size at which a log file rotates, TorchServe's too. Four older ones are kept."""

    @property
    def url(self) -> str:
        """Where the gateway answers."""
        host = f"[{self.host}]" if ":" in self.host else self.host  # IPv6
        return f"http://{host}:{self.port}"

    @property
    def origins(self) -> list[str]:
        """The CORS origins, as browsers send them.

        Raises:
            ValueError: one is not an origin.
        """
        return [_origin(text.strip()) for text in self.cors_origins.split(",") if text.strip()]

    @property
    def proxies(self) -> list[Network]:
        """This machine and the trusted proxies.

        Raises:
            ValueError: one is neither an address nor a network.
        """
        texts = [text.strip() for text in self.trusted_proxies.split(",") if text.strip()]
        return [ipaddress.ip_network(text, strict=False) for text in ["127.0.0.0/8", "::1", *texts]]

    @classmethod
    def from_environment(cls) -> Settings:
        """Read the environment; unset variables keep their defaults. Exits with a message if a value is invalid."""
        texts = {field.name: text for field in fields(cls) if (text := os.environ.get(f"MLBIO_{field.name.upper()}"))}
        try:
            settings = msgspec.convert(texts, cls, strict=False)
        except msgspec.ValidationError as error:
            name = str(error).rpartition("$.")[2].rstrip("`")
            needed = get_type_hints(cls, include_extras=True)[name].__metadata__[0].description
            raise SystemExit(f"MLBIO_{name.upper()}={texts.get(name)}: it must be {needed}") from None
        try:
            settings.origins  # noqa: B018
        except ValueError as error:
            raise SystemExit(f"MLBIO_CORS_ORIGINS: {error}") from None
        try:
            settings.proxies  # noqa: B018
        except ValueError as error:
            raise SystemExit(f"MLBIO_TRUSTED_PROXIES: {error}: use addresses or networks such as 10.0.0.0/8") from None
        return settings


def _origin(text: str) -> str:
    """An origin in the form in which browsers send it, or ``*``.

    Raises:
        ValueError: it is not an origin.
    """
    if text == "*":
        return text
    wrong = ValueError(
        f"'{text}' is not an origin: write it with its scheme, as in https://page.example or http://localhost:3000"
    )
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname or ""
        host = f"[{host}]" if ":" in host else host.encode("idna").decode()
    except ValueError:  # of the port, or a name that cannot be one
        raise wrong from None
    if parts.scheme not in ("http", "https") or not host or parts.path not in ("", "/"):
        raise wrong
    if "@" in parts.netloc or parts.query or parts.fragment or any(c.isspace() or c == "*" for c in host):
        raise wrong
    usual_port = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" + (f":{port}" if port not in (None, usual_port) else "")
