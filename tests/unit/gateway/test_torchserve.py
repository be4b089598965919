"""The client of TorchServe's inference API, against a mock of its transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from email import message_from_bytes

import httpx
import pytest

from api.answer import Answer
from api.deadline import Deadline
from api.errors import ErrorCode
from api.headers import (
    ANSWER_HEADER,
    CANCEL_HEADER,
    DEADLINE_HEADER,
    EXPIRY_HEADER,
    EXPLAIN_POOL,
    JOB_HEADER,
    POOL,
    STREAM_TYPE,
)
from api.request import Request
from gateway.settings import Settings
from gateway.torchserve import TorchServe, kept_connections, translate_error

REQUEST = Request(b"\xff\xd8 photograph", explain=True, precision="Faible", details=True)
OURS = {ANSWER_HEADER: "1"}
DONE = b'{"success":true}'


def client(handler: Callable, **settings) -> TorchServe:
    return TorchServe(Settings(**settings), httpx.MockTransport(handler))


async def collect(torchserve: TorchServe, seconds: float = 5, stream: bool = True) -> list[bytes | Answer]:
    return [part async for part in torchserve.explain(REQUEST, seconds, stream)]


class Parts(httpx.AsyncByteStream):
    """A body that arrives in pieces; an exception among them is raised."""

    def __init__(self, *parts: bytes | Exception) -> None:
        self.parts = parts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            if isinstance(part, Exception):
                raise part
            yield part


def fields_of(request: httpx.Request) -> dict[str, bytes]:
    """The fields of a multipart form."""
    head = b"content-type: " + request.headers["content-type"].encode() + b"\r\n\r\n"
    parts = message_from_bytes(head + request.content).get_payload()
    return {p.get_param("name", header="content-disposition"): p.get_payload(decode=True) for p in parts}


def test_the_photograph_and_the_options_are_sent_as_a_form():
    seen = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, headers=OURS, content=DONE)

    assert asyncio.run(client(handler).predict(REQUEST)) == Answer(200, DONE)
    assert seen[0].url.path == f"/predictions/{POOL}"
    expected = {"image": REQUEST.image, "explain": b"true", "precision": b"Faible", "details": b"true"}
    assert fields_of(seen[0]) == expected


def test_our_answer_is_passed_on_unread():
    """It is recognised by its header: the body may be anything."""
    answer = asyncio.run(client(lambda r: httpx.Response(400, headers=OURS, content=b"{not parsed")).predict(REQUEST))
    assert answer == Answer(400, b"{not parsed", code=ErrorCode.INVALID_REQUEST)


def test_an_answer_without_the_header_is_torchserves_own():
    answer = asyncio.run(client(lambda r: httpx.Response(200, content=DONE)).predict(REQUEST))
    assert answer.status == 502


@pytest.mark.parametrize(
    ("theirs", "ours"), [(404, 404), (408, 504), (413, 413), (500, 503), (503, 503), (507, 503), (504, 504), (418, 502)]
)
def test_every_status_of_torchserve_has_an_answer(theirs: int, ours: int):
    answer = translate_error(theirs)
    assert answer.status == ours
    assert answer.retry == (ours == 503)


@pytest.mark.parametrize(
    ("error", "status", "word"),
    [
        (httpx.ConnectError("refused"), 503, "not running"),
        (httpx.ConnectTimeout("slow"), 503, "not running"),
        (httpx.ReadTimeout("slow"), 504, "within 7 seconds"),
        (httpx.RemoteProtocolError("gone"), 503, "broke"),
    ],
)
def test_every_failure_of_the_connection_has_an_answer(error: Exception, status: int, word: str):
    def handler(request: httpx.Request) -> httpx.Response:
        raise error

    async def both() -> list[Answer]:
        torchserve = client(handler, predict_seconds=7)
        (explained,) = await collect(torchserve)
        answers = [await torchserve.predict(REQUEST), explained]
        await torchserve.close()
        return answers

    predicted, explained = asyncio.run(both())
    assert predicted.status == explained.status == status
    assert word.encode() in predicted.body


def test_progress_is_passed_on_line_by_line_and_the_answer_last():
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.headers["accept"] == STREAM_TYPE
        assert 4 < Deadline.from_header(request.headers[DEADLINE_HEADER]).left() <= 5
        assert 14 < Deadline.from_header(request.headers[EXPIRY_HEADER]).left() <= 15
        stream = Parts(b'{"progress": 0.0}\n{"pro', b'gress": 0.5}\n', b'{"success"', b":true}\n")
        return httpx.Response(200, headers=OURS, stream=stream)

    assert asyncio.run(collect(client(handler))) == [
        b'{"progress": 0.0}\n',
        b'{"progress": 0.5}\n',
        Answer(200, DONE),
    ]


def test_one_pool_explains_when_the_other_is_missing():
    asked = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path.rpartition("/")[2])
        return httpx.Response(404) if asked[-1] == EXPLAIN_POOL else httpx.Response(200, headers=OURS, content=DONE)

    assert asyncio.run(collect(client(handler))) == [Answer(200, DONE)]
    assert asked == [EXPLAIN_POOL, POOL]


@pytest.mark.parametrize("missing", [False, True], ids=["two pools", "one pool"])
def test_leaving_early_cancels_the_job(missing: bool):
    """Also after the explain pool's 404, which is not an answer to the client."""
    cancelled, jobs = [], []

    def handler(request: httpx.Request) -> httpx.Response:
        if CANCEL_HEADER in request.headers:
            cancelled.append(request.headers[CANCEL_HEADER])
            return httpx.Response(400, headers=OURS)
        if missing and request.url.path.endswith(EXPLAIN_POOL):
            return httpx.Response(404)
        jobs.append(request.headers[JOB_HEADER])
        return httpx.Response(200, headers=OURS, stream=Parts(b'{"progress": 0.1}\n', b'{"progress": 0.2}\n', DONE))

    async def leave() -> None:
        torchserve = client(handler)
        parts = torchserve.explain(REQUEST, 5, stream=True)
        assert await anext(parts) == b'{"progress": 0.1}\n'
        await parts.aclose()
        await torchserve.close()

    asyncio.run(leave())
    assert len(jobs) == 1 and cancelled == jobs


def test_every_model_server_is_told_who_cancelled(monkeypatch: pytest.MonkeyPatch):
    """Where there are several behind one name, whichever computes it."""
    told = []

    def answer(request: httpx.Request) -> httpx.Response:
        if CANCEL_HEADER in request.headers:
            told.append(str(request.url))
        return httpx.Response(200, content=b'{"progress": 0.5}\n' * 2)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()

        async def two(name: str, port: int, **_: object) -> list[tuple]:
            assert name == "pods"
            return [(0, 0, 0, "", (host, port)) for host in ("10.0.0.1", "10.0.0.2")]

        monkeypatch.setattr(loop, "getaddrinfo", two)
        settings = Settings(torchserve_url="http://torchserve:8080", torchserve_peers="pods")
        torchserve = TorchServe(settings, httpx.MockTransport(answer))
        parts = torchserve.explain(REQUEST, 5, stream=True)
        await anext(parts)
        await parts.aclose()
        await torchserve.close()

    asyncio.run(scenario())
    assert sorted(told) == [f"http://10.0.0.{n}:8080/predictions/mlbio" for n in (1, 2)]


def test_where_the_name_of_all_servers_is_unknown_the_one_that_answers_is_told(monkeypatch: pytest.MonkeyPatch):
    async def scenario() -> list[str]:
        async def unknown(*_: object, **__: object) -> list[tuple]:
            raise OSError("no such name")

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
        return await client(lambda request: httpx.Response(200), torchserve_peers="pods")._servers()

    assert asyncio.run(scenario()) == [""]


def test_no_connection_to_another_machine_is_kept():
    urls = ("http://127.0.0.1:8080", "http://localhost:8080", "http://torchserve:8080", "http://10.0.0.1:8080")
    assert [kept_connections(Settings(torchserve_url=url)) for url in urls] == [20, 20, 0, 0]


def test_an_explanation_out_of_time_is_cancelled_and_one_that_ended_is_not():
    cancelled = []

    def handler(request: httpx.Request) -> httpx.Response:
        if CANCEL_HEADER in request.headers:
            cancelled.append(request.headers[CANCEL_HEADER])
            raise httpx.ConnectError("TorchServe is gone: nothing is lost but time")
        if request.headers["accept"] == STREAM_TYPE:
            raise httpx.ReadTimeout("slow")
        return httpx.Response(200, headers=OURS, content=DONE)

    async def both() -> None:
        torchserve = client(handler)
        (answer,) = await collect(torchserve, stream=False)
        assert answer.status == 200
        await asyncio.sleep(0)
        assert not cancelled
        (answer,) = await collect(torchserve)
        assert answer.status == 504
        await torchserve.close()

    asyncio.run(both())
    assert len(cancelled) == 1


def test_a_stream_that_breaks_ends_with_an_answer():
    broken = Parts(b'{"progress": 0.1}\n', httpx.ReadError("gone"))
    parts = asyncio.run(collect(client(lambda r: httpx.Response(200, headers=OURS, stream=broken))))
    assert parts[0] == b'{"progress": 0.1}\n' and parts[1].status == 503


def test_a_stream_that_fails_before_any_progress_has_the_handlers_code_once():
    body = b'{"success":false,"error":"no","code":"damaged_image"}\n'
    (answer,) = asyncio.run(
        collect(client(lambda r: httpx.Response(400, headers={ANSWER_HEADER: "damaged_image"}, content=body)))
    )
    assert answer.code == "damaged_image" and answer.line() == body


def test_torchserves_counters_are_passed_on_without_its_host_and_nothing_else():
    asked = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        text = (
            "# TYPE ts_queue_latency_microseconds counter\n"
            'ts_queue_latency_microseconds{model_name="mlbio",model_version="default",hostname="secret",} 1.5\n'
            'CPUUtilization{Level="Host",Hostname="secret",} 100.0\nnonsense ts_x 1\n'
        )
        return httpx.Response(200, text=text)

    assert asyncio.run(client(handler, torchserve_url="http://localhost:9000").metrics()) == (
        b"# TYPE ts_queue_latency_microseconds counter\n"
        b'ts_queue_latency_microseconds{model_name="mlbio",model_version="default",} 1.5\n'
    )
    assert asked == ["http://127.0.0.1:9002/metrics"]


def test_without_torchserves_counters_there_are_none():
    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("planted")

    assert asyncio.run(client(broken).metrics()) == b""
    assert asyncio.run(client(lambda request: httpx.Response(404, text="ts_x 1")).metrics()) == b""
