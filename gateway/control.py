"""Orders to a running service, over a socket that only its user can reach: its temporary folder is closed to others."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from gateway.exchange import Exchange, ExchangeError
from gateway.keeper import say
from gateway.scratch import PREFIX
from gateway.settings import Settings

ORDER_SECONDS = 10.0
"""Time limit for an order to arrive."""


class NotRunning(RuntimeError):
    """No service of this user runs at the settings' port."""


class Order(msgspec.Struct, frozen=True):
    """Serve the archive at this path, whose answers name ``version``."""

    archive: str
    version: str


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """What comes back: any number of ``said``, and finally ``error`` or ``done``."""

    said: str = ""
    error: str = ""
    done: bool = False


@contextlib.asynccontextmanager
async def listening(exchange: Exchange, scratch: Path, settings: Settings) -> AsyncIterator[None]:
    """Take orders. Those that are under way at the end are cancelled."""
    tasks: set[asyncio.Task[None]] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await _obey(exchange, reader, writer)
        finally:
            tasks.discard(task)
            writer.close()

    server = None
    try:
        server = await asyncio.start_unix_server(take, _socket(scratch, settings))
    except OSError as error:  # a path that is too long, say
        say(f"warning: the model cannot be changed while this runs: {error}")
    try:
        yield
    finally:
        if server:
            server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _obey(exchange: Exchange, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    def tell(line: Line) -> None:
        if not writer.is_closing():  # who asked may leave; what was asked is done all the same
            writer.write(msgspec.json.encode(line) + b"\n")

    def report(text: str) -> None:
        say(text)
        tell(Line(said=text))

    try:
        text = await asyncio.wait_for(reader.readline(), ORDER_SECONDS)
        order = msgspec.json.decode(text, type=Order)
        await exchange.change(Path(order.archive), order.version, report)
        say(f"the service answers with {order.version}")
        tell(Line(done=True))
    except (ExchangeError, msgspec.MsgspecError, TimeoutError, ValueError) as error:
        tell(Line(error=str(error) or "the order did not arrive"))
    except asyncio.CancelledError:
        tell(Line(error="the service is being stopped"))
    except Exception as error:  # a fault of ours, which must not end the connection without a word
        say(f"the model was not changed: {error!r}")
        tell(Line(error=f"a fault of the service: {error!r}"))
    with contextlib.suppress(ConnectionError):
        await writer.drain()


def ask(settings: Settings, order: Order, on_said: Callable[[str], None]) -> None:
    """Have the service at the settings' port do something; returns when it is done.

    Raises:
        NotRunning: there is no service.
        ExchangeError: it was not done.
    """
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                if path.lstat().st_uid != os.getuid():
                    continue  # another user could answer what they like
                connection.connect(_socket(path, settings))
            except OSError:  # of a service that was killed
                continue
            connection.sendall(msgspec.json.encode(order) + b"\n")
            with connection.makefile("rb") as lines:
                for text in lines:
                    line = msgspec.json.decode(text, type=Line)
                    if line.done:
                        return
                    if line.error:
                        raise ExchangeError(line.error)
                    on_said(line.said)
            raise ExchangeError("the service ended")
    raise NotRunning(f"no service that you started runs at {settings.url} (MLBIO_PORT)")


def _socket(scratch: Path, settings: Settings) -> str:
    return str(scratch / f"control-{settings.port}")
