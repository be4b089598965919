"""Holding requests, through the whole application and its socket."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from api.headers import ANSWER_HEADER
from gateway.app import create_app
from gateway.hold import IDLE
from gateway.settings import Settings

BODY = {"image": base64.b64encode(b"photograph").decode()}
DONE = b'{"success":true,"prediction":"Melanoma","probability":0.5,"explain":null}'


@pytest.fixture
def socket() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="mlbio-t-") as folder:  # a short name, as sockets need
        yield str(Path(folder) / "hold")


class Gateway:
    """The application, with a model server that answers when ``answers`` is set."""

    def __init__(self, socket: str, **settings: float) -> None:
        self.asked = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self._app = create_app(Settings(hold_socket=socket, **settings), httpx.MockTransport(self._answer))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        await self.answers.wait()
        return httpx.Response(200, headers={ANSWER_HEADER: "1"}, content=DONE)

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        async with (
            self._app.router.lifespan_context(self._app),
            httpx.AsyncClient(transport=httpx.ASGITransport(self._app), base_url="http://gateway") as client,
        ):
            yield client


async def connect(socket: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(socket)


@pytest.mark.parametrize("explain", [False, True])
def test_running_requests_finish_and_new_ones_are_held_until_the_connection_ends(socket: str, explain: bool):
    async def scenario() -> None:
        gateway = Gateway(socket)
        async with gateway.client() as client:

            def send() -> asyncio.Task[httpx.Response]:
                return asyncio.create_task(client.post("/predict", json=BODY | {"explain": explain}))

            gateway.answers.clear()
            running = send()
            while not gateway.asked:
                await asyncio.sleep(0.01)
            reader, writer = await connect(socket)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.readline(), 0.2)
            gateway.answers.set()
            assert await asyncio.wait_for(reader.readline(), 5) == IDLE
            assert (await running).status_code == 200

            held = send()
            await asyncio.sleep(0.2)
            assert gateway.asked == 1 and not held.done()
            assert (await client.get("/readyz")).status_code == 200, "this asks the model server all the same"
            assert gateway.asked == 2
            writer.close()
            assert (await asyncio.wait_for(held, 5)).status_code == 200

    asyncio.run(scenario())


def test_a_request_is_refused_after_the_limit_and_others_beyond_the_queue_at_once(socket: str):
    async def scenario() -> None:
        gateway = Gateway(socket, hold_seconds=0.5, predict_queue=2)
        async with gateway.client() as client:
            reader, writer = await connect(socket)
            assert await reader.readline() == IDLE
            held = [asyncio.create_task(client.post("/predict", json=BODY)) for _ in range(2)]
            await asyncio.sleep(0.2)
            full = await client.post("/predict", json=BODY)
            assert full.status_code == 503 and "too many" in full.text and not any(task.done() for task in held)
            for response in await asyncio.gather(*held):
                assert response.status_code == 503 and "being replaced" in response.text
                assert int(response.headers["retry-after"]) > 0
            assert gateway.asked == 0
            writer.close()

    asyncio.run(scenario())


def test_whoever_leaves_before_the_others_have_finished_holds_nothing(socket: str):
    async def scenario() -> None:
        gateway = Gateway(socket)
        async with gateway.client() as client:
            gateway.answers.clear()
            requests = [asyncio.create_task(client.post("/predict", json=BODY))]
            while not gateway.asked:
                await asyncio.sleep(0.01)
            _, writer = await connect(socket)
            await asyncio.sleep(0.1)
            writer.close()
            await asyncio.sleep(0.2)
            requests.append(asyncio.create_task(client.post("/predict", json=BODY)))
            while gateway.asked < 2:
                await asyncio.sleep(0.01)
            gateway.answers.set()
            assert [response.status_code for response in await asyncio.gather(*requests)] == [200, 200]

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_a_path_that_is_too_long_for_a_socket_does_not_stop_the_gateway(caplog: pytest.LogCaptureFixture):
    async def scenario() -> int:
        async with Gateway("/nowhere/" + "x" * 200).client() as client:
            return (await client.post("/predict", json=BODY)).status_code

    assert asyncio.run(scenario()) == 200
    assert "cannot be replaced" in caplog.text
