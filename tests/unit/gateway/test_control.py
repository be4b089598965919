"""Orders to a running service, over its socket."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.control import NotRunning, Order, ask, listening
from gateway.exchange import ExchangeError
from gateway.scratch import scratch_folder
from gateway.settings import Settings

SETTINGS = Settings(port=18089)
ORDER = Order("/somewhere/mlbio.mar", "0123456789ab")


class Exchange:
    """Says two lines, and then does as it was made."""

    def __init__(self, ends: Callable[[], None] = lambda: None) -> None:
        self.ends = ends
        self.orders: list[tuple[Path, str]] = []

    async def change(self, archive: Path, version: str, tell: Callable[[str], None]) -> None:
        self.orders.append((archive, version))
        tell("starting")
        tell("changing")
        self.ends()


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A temporary folder of this test's own; its name is short, as sockets need."""
    with tempfile.TemporaryDirectory(prefix="mlbio-t-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield


def ordered(exchange: Exchange, port: int = SETTINGS.port) -> list[str]:
    """What is said about an order to a service at the settings' port."""
    said: list[str] = []

    async def scenario() -> None:
        with scratch_folder() as scratch:
            async with listening(exchange, scratch, SETTINGS):  # type: ignore[arg-type]
                await asyncio.to_thread(ask, Settings(port=port), ORDER, said.append)

    asyncio.run(scenario())
    return said


def test_an_order_is_carried_out_and_told_about():
    exchange = Exchange()
    assert ordered(exchange) == ["starting", "changing"]
    assert exchange.orders == [(Path(ORDER.archive), ORDER.version)]


def test_why_it_was_not_carried_out_is_said():
    def fail() -> None:
        raise ExchangeError("the model cannot be loaded")

    with pytest.raises(ExchangeError, match="the model cannot be loaded"):
        ordered(Exchange(fail))


def test_a_service_at_another_port_is_left_alone():
    with pytest.raises(NotRunning, match="18090"):
        ordered(Exchange(), port=18090)


def test_nobody_is_there():
    with pytest.raises(NotRunning, match="MLBIO_PORT"):
        ask(SETTINGS, ORDER, print)


def test_the_socket_is_closed_to_others_and_nonsense_is_answered():
    async def scenario() -> bytes:
        with scratch_folder() as scratch:
            assert scratch.stat().st_mode & 0o077 == 0
            async with listening(Exchange(), scratch, SETTINGS):  # type: ignore[arg-type]

                def send() -> bytes:
                    with socket.socket(socket.AF_UNIX) as connection:
                        connection.connect(str(next(scratch.glob("control-*"))))
                        connection.sendall(b"no order\n")
                        return connection.makefile("rb").readline()

                return await asyncio.to_thread(send)

    assert asyncio.run(scenario()).startswith(b'{"error":')


def test_an_order_under_way_ends_with_the_service():
    exchange = Exchange()

    async def forever(archive: Path, version: str, tell: Callable[[str], None]) -> None:
        tell("starting")
        await asyncio.Event().wait()

    exchange.change = forever  # type: ignore[method-assign]

    async def scenario() -> None:
        with scratch_folder() as scratch:
            async with listening(exchange, scratch, SETTINGS):  # type: ignore[arg-type]
                said: list[str] = []
                asking = asyncio.create_task(asyncio.to_thread(ask, SETTINGS, ORDER, said.append))
                while "starting" not in said:
                    await asyncio.sleep(0.01)
            with pytest.raises(ExchangeError, match="stopped"):
                await asking

    asyncio.run(scenario())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_socket_of_another_user_is_not_asked():
    exchange = Exchange()

    async def scenario() -> None:
        with scratch_folder() as scratch:
            async with listening(exchange, scratch, SETTINGS):  # type: ignore[arg-type]
                os.chown(scratch, 65534, 65534)
                await asyncio.to_thread(ask, SETTINGS, ORDER, print)

    with pytest.raises(NotRunning):
        asyncio.run(scenario())
    assert not exchange.orders
