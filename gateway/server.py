"""The HTTP server: its limits, its logs and its graceful shutdown."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import uvicorn

from api.logs import JsonLines
from gateway import traces
from gateway.admission import Addresses
from gateway.app import create_app, with_cors
from gateway.backend import Backend
from gateway.connection import Connection, refuse_connection
from gateway.keys import KeysError
from gateway.middleware import ACCESS_LOGGER
from gateway.settings import Settings
from gateway.torchserve import TorchServe
from gateway.traces import TracesError

LOG_FILES = 4
"""Older log files that are kept, as in ``log4j2.xml``."""


def make_server(settings: Settings, make_backend: Callable[[Settings], Backend] = TorchServe) -> uvicorn.Server:
    """uvicorn with the gateway in front of TorchServe, or of what ``make_backend`` makes.

    On SIGTERM it accepts no new requests, and finishes those that are running.
    """
    logging.raiseExceptions = False  # a log that cannot be written, as on a full disk, must not cause more output
    try:
        traces.configure()
        app = create_app(settings, make_backend(settings))
    except (KeysError, TracesError) as error:
        raise SystemExit(f"gateway: error: {error}") from None
    refusals = {status: with_cors(partial(refuse_connection, status=status), settings) for status in (429, 503)}
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            http=partial(Connection, addresses=Addresses(settings), refusals=refusals),  # type: ignore[arg-type]
            forwarded_allow_ips=[str(network) for network in settings.proxies],
            loop="asyncio",  # whether or not uvloop happens to be installed
            ws="none",
            log_config=log_config(settings),
            log_level="warning",
            access_log=False,  # gateway.middleware writes ours
            server_header=False,
            timeout_graceful_shutdown=settings.stop_seconds,  # type: ignore[arg-type]  # it goes to asyncio.wait_for
        )
    )


def log_config(settings: Settings) -> dict[str, Any]:
    """For :func:`logging.config.dictConfig`: the settings' file, which rotates, or stderr."""
    handler: dict[str, Any] = {"class": "logging.StreamHandler"}
    if settings.log_file:
        handler = {
            "class": "logging.handlers.RotatingFileHandler",
            "filename": settings.log_file,
            "maxBytes": settings.log_bytes,
            "backupCount": LOG_FILES,
            "encoding": "utf-8",
        }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": JsonLines}},
        "handlers": {"log": handler | {"formatter": "lines"}},
        "root": {"level": "WARNING", "handlers": ["log"]},
        "loggers": {ACCESS_LOGGER: {"level": "INFO"}},
    }
