"""Changing to another TorchServe: what is under way is finished where it began, and only then confirmed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from api.headers import ANSWER_HEADER
from api.request import Request
from gateway.handover import address, follow, hand_over
from gateway.settings import Settings
from gateway.torchserve import TorchServe

REQUEST = Request(b"\xff\xd8 photograph")
OLD, NEW = "http://127.0.0.1:1", "http://127.0.0.1:2"


class Gateway:
    """What the gateway does of it, with TorchServes that answer when ``answers`` is set."""

    def __init__(self, file: Path) -> None:
        self.settings = Settings(torchserve_url=OLD, torchserve_file=str(file))
        self.answers = asyncio.Event()
        self.asked: list[str] = []
        self.torchserve = self.client(address(self.settings))

    def client(self, url: str) -> TorchServe:
        return TorchServe(replace(self.settings, torchserve_url=url), httpx.MockTransport(self.answer))

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url.copy_with(path="/")).rstrip("/"))
        if request.url.port == 1:
            await self.answers.wait()
        return httpx.Response(200, headers={ANSWER_HEADER: "1"}, content=b"{}")

    def change(self, url: str) -> TorchServe:
        before, self.torchserve = self.torchserve, self.client(url)
        return before


def test_the_file_counts_where_there_is_one(tmp_path: Path):
    file = tmp_path / "torchserve"
    settings = Settings(torchserve_url=OLD, torchserve_file=str(file))
    assert address(settings) == address(replace(settings, torchserve_file="")) == OLD
    file.write_text(NEW)
    assert address(settings) == NEW and address(replace(settings, torchserve_file="")) == OLD


@pytest.mark.parametrize("explain", [False, True])
def test_a_request_is_finished_where_it_began_before_the_change_is_confirmed(tmp_path: Path, explain: bool):
    async def scenario() -> None:
        file = tmp_path / "torchserve"
        gateway = Gateway(file)
        following = asyncio.create_task(follow(gateway.settings, gateway.change))

        async def ask() -> int:
            if not explain:
                return (await gateway.torchserve.predict(REQUEST)).status
            return [part async for part in gateway.torchserve.explain(REQUEST, 20, False)][-1].status  # type: ignore[union-attr]

        early = asyncio.create_task(ask())
        await asyncio.sleep(0.1)
        assert not await hand_over(file, NEW, 1.0)
        assert await asyncio.wait_for(ask(), 5) == 200
        assert gateway.asked == [OLD, NEW] and not early.done()
        gateway.answers.set()
        assert await hand_over(file, NEW, 5.0)
        assert await early == 200
        following.cancel()

    asyncio.run(scenario())


def test_a_gateway_that_starts_later_confirms_at_once(tmp_path: Path):
    async def scenario() -> None:
        file = tmp_path / "torchserve"
        assert not await hand_over(file, NEW, 0.1)
        gateway = Gateway(file)
        following = asyncio.create_task(follow(gateway.settings, gateway.change))
        assert await hand_over(file, NEW, 5.0)
        assert (await gateway.torchserve.predict(REQUEST)).status == 200 and gateway.asked == [NEW]
        following.cancel()

    asyncio.run(scenario())
