"""Holding requests, through the whole application and its socket."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from gateway.app import create_app
from gateway.hold import IDLE
from gateway.settings import Settings
from tests.unit.gateway.engine import BODY, Engine


@pytest.fixture
def socket() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="mlbio-t-") as folder:  # a short name, as sockets need
        yield str(Path(folder) / "hold")


@contextlib.asynccontextmanager
async def gateway(engine: Engine, socket: str, **settings: float) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Settings(hold_socket=socket, **settings), engine)
    async with (
        asyncio.timeout(20),
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client,
    ):
        yield client


async def until_asked(engine: Engine, times: int) -> None:
    while len(engine.asked) < times:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("explain", [False, True])
def test_running_requests_finish_and_new_ones_are_held_until_the_connection_ends(socket: str, explain: bool):
    async def scenario() -> None:
        engine = Engine()
        async with gateway(engine, socket) as client:

            def send() -> asyncio.Task[httpx.Response]:
                return asyncio.create_task(client.post("/predict", json=BODY | {"explain": explain}))

            engine.answers.clear()
            running = send()
            await until_asked(engine, 1)
            reader, writer = await asyncio.open_unix_connection(socket)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.readline(), 0.2)
            engine.answers.set()
            assert await reader.readline() == IDLE
            assert (await running).status_code == 200

            held = send()
            await asyncio.sleep(0.2)
            assert len(engine.asked) == 1 and not held.done()
            assert (await client.get("/readyz")).status_code == 200, "readiness is never held"
            assert len(engine.asked) == 2
            writer.close()
            assert (await held).status_code == 200

    asyncio.run(scenario())


def test_a_request_is_refused_after_the_limit_and_others_beyond_the_queue_at_once(socket: str):
    async def scenario() -> None:
        engine = Engine()
        async with gateway(engine, socket, hold_seconds=0.5, predict_queue=2) as client:
            reader, writer = await asyncio.open_unix_connection(socket)
            assert await reader.readline() == IDLE
            held = [asyncio.create_task(client.post("/predict", json=BODY)) for _ in range(2)]
            await asyncio.sleep(0.2)
            full = await client.post("/predict", json=BODY)
            assert full.status_code == 503 and "too many" in full.text and not any(task.done() for task in held)
            for response in await asyncio.gather(*held):
                assert response.status_code == 503 and "being replaced" in response.text
                assert int(response.headers["retry-after"]) > 0
            assert not engine.asked
            writer.close()

    asyncio.run(scenario())


def test_a_connection_that_ends_before_requests_have_finished_holds_nothing(socket: str):
    async def scenario() -> None:
        engine = Engine()
        async with gateway(engine, socket) as client:
            engine.answers.clear()
            requests = [asyncio.create_task(client.post("/predict", json=BODY))]
            await until_asked(engine, 1)
            _, writer = await asyncio.open_unix_connection(socket)
            await asyncio.sleep(0.1)
            writer.close()
            await asyncio.sleep(0.2)
            requests.append(asyncio.create_task(client.post("/predict", json=BODY)))
            await until_asked(engine, 2)
            engine.answers.set()
            assert [response.status_code for response in await asyncio.gather(*requests)] == [200, 200]

    asyncio.run(scenario())


def test_a_path_that_is_too_long_for_a_socket_does_not_stop_the_gateway(caplog: pytest.LogCaptureFixture):
    async def scenario() -> int:
        async with gateway(Engine(), "/nowhere/" + "x" * 200) as client:
            return (await client.post("/predict", json=BODY)).status_code

    assert asyncio.run(scenario()) == 200
    assert "cannot be replaced" in caplog.text
