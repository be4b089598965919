"""The client of TorchServe's inference API, against a mock of its transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from email import message_from_bytes

import httpx
import pytest

from api.answer import Answer, refuse
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

Handler = Callable[[httpx.Request], httpx.Response]


class Parts(httpx.AsyncByteStream):
    """A body that arrives in pieces; an exception among them is raised, and None never arrives."""

    def __init__(self, *parts: bytes | Exception | None) -> None:
        self.parts = parts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            if isinstance(part, Exception):
                raise part
            if part is None:
                await asyncio.sleep(60)
            else:
                yield part


def predict(handler: Handler, **settings) -> Answer:
    async def scenario() -> Answer:
        return await TorchServe(Settings(**settings), httpx.MockTransport(handler)).predict(REQUEST, 7)

    return asyncio.run(scenario())


def explain(handler: Handler, leave_after: float | None = None, **settings) -> tuple[Answer | None, list[float]]:
    """The answer and the reports of progress; or None, where the client leaves at some progress."""
    shares: list[float] = []

    async def scenario() -> Answer | None:
        left = asyncio.Event()

        async def on_progress(share: float) -> None:
            shares.append(share)
            if share == leave_after:
                left.set()

        torchserve = TorchServe(Settings(**settings), httpx.MockTransport(handler))
        task = asyncio.create_task(torchserve.explain(REQUEST, 5, on_progress))
        if leave_after is not None:
            await asyncio.wait_for(left.wait(), 5)
            task.cancel()
        (answer,) = await asyncio.gather(task, return_exceptions=True)
        await torchserve.close()
        if isinstance(answer, asyncio.CancelledError):
            return None
        assert isinstance(answer, Answer), answer
        return answer

    return asyncio.run(scenario()), shares


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

    assert predict(handler) == Answer(200, DONE)
    assert seen[0].url.path == f"/predictions/{POOL}"
    expected = {"image": REQUEST.image, "explain": b"true", "precision": b"Faible", "details": b"true"}
    assert fields_of(seen[0]) == expected


@pytest.mark.parametrize(
    ("value", "code"), [("not_an_image", ErrorCode.NOT_AN_IMAGE), ("1", ErrorCode.INVALID_REQUEST)]
)
def test_an_answer_with_our_header_is_passed_on_unread(value: str, code: ErrorCode):
    content = b"{not parsed"
    answer = predict(lambda r: httpx.Response(400, headers={ANSWER_HEADER: value}, content=content))
    assert answer == Answer(400, content, code)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [(200, 502), (404, 404), (408, 504), (413, 413), (500, 503), (503, 503), (507, 503), (504, 504), (418, 502)],
)
def test_every_status_of_torchserve_itself_has_an_answer(theirs: int, ours: int):
    assert predict(lambda r: httpx.Response(theirs, content=DONE)).status == ours
    assert (translate_error(theirs).retry_after is not None) == (ours == 503)


@pytest.mark.parametrize(
    ("error", "status", "word"),
    [
        (httpx.ConnectError("refused"), 503, "not running"),
        (httpx.ConnectTimeout("slow"), 503, "not running"),
        (httpx.ReadTimeout("slow"), 504, "within"),
        (httpx.RemoteProtocolError("gone"), 503, "broke"),
    ],
)
def test_every_failure_of_the_connection_has_an_answer(error: Exception, status: int, word: str):
    def handler(request: httpx.Request) -> httpx.Response:
        raise error

    predicted, (explained, _) = predict(handler), explain(handler)
    assert predicted.status == explained.status == status
    assert word in predicted.body.decode() and word in explained.body.decode()


def test_progress_is_reported_before_the_answer():
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.headers["accept"] == STREAM_TYPE
        assert 4 < Deadline.from_header(request.headers[DEADLINE_HEADER]).left() <= 5
        assert 14 < Deadline.from_header(request.headers[EXPIRY_HEADER]).left() <= 15
        stream = Parts(b'{"progress": 0.0}\n{"pro', b'gress": 0.5}\n', b'{"success"', b":true}\n")
        return httpx.Response(200, headers=OURS, stream=stream)

    assert explain(handler) == (Answer(200, DONE), [0.0, 0.5])


def test_one_pool_explains_when_the_other_is_missing():
    asked = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path.rpartition("/")[2])
        return httpx.Response(404) if asked[-1] == EXPLAIN_POOL else httpx.Response(200, headers=OURS, content=DONE)

    assert explain(handler) == (Answer(200, DONE), [])
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
        return httpx.Response(200, headers=OURS, stream=Parts(b'{"progress": 0.1}\n', None))

    assert explain(handler, leave_after=0.1) == (None, [0.1])
    assert len(jobs) == 1 and cancelled == jobs


def test_where_there_are_several_model_servers_each_is_told_who_cancelled(monkeypatch: pytest.MonkeyPatch):
    notified = []

    def handler(request: httpx.Request) -> httpx.Response:
        if CANCEL_HEADER in request.headers:
            notified.append(str(request.url))
            return httpx.Response(400, headers=OURS)
        return httpx.Response(200, headers=OURS, stream=Parts(b'{"progress": 0.5}\n', None))

    async def two(self: object, name: str, port: int, **_: object) -> list[tuple]:
        if name == "unknown":
            raise OSError("no such name")
        return [(0, 0, 0, "", (host, port)) for host in ("10.0.0.1", "10.0.0.2")]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", two)
    explain(handler, leave_after=0.5, torchserve_url="http://torchserve:8080", torchserve_peers="pods")
    assert sorted(notified) == [f"http://10.0.0.{n}:8080/predictions/mlbio" for n in (1, 2)]
    notified.clear()
    explain(handler, leave_after=0.5, torchserve_url="http://torchserve:8080", torchserve_peers="unknown")
    assert notified == ["http://torchserve:8080/predictions/mlbio"]


def test_no_connection_to_another_machine_is_kept():
    urls = ("http://127.0.0.1:8080", "http://localhost:8080", "http://torchserve:8080", "http://10.0.0.1:8080")
    assert [kept_connections(Settings(torchserve_url=url)) for url in urls] == [20, 20, 0, 0]


@pytest.mark.parametrize(("ends", "status"), [(True, 200), (False, 504)])
def test_an_explanation_out_of_time_is_cancelled_and_one_that_ended_is_not(ends: bool, status: int):
    cancelled = []

    def handler(request: httpx.Request) -> httpx.Response:
        if CANCEL_HEADER in request.headers:
            cancelled.append(request.headers[CANCEL_HEADER])
            raise httpx.ConnectError("TorchServe is gone: nothing is lost but time")
        if not ends:
            raise httpx.ReadTimeout("slow")
        return httpx.Response(200, headers=OURS, content=DONE)

    answer, _ = explain(handler)
    assert answer.status == status and len(cancelled) == (not ends)


@pytest.mark.parametrize("end", [(httpx.ReadError("gone"),), ()], ids=["connection lost", "worker lost"])
def test_a_stream_that_breaks_ends_with_an_answer(end: tuple):
    broken = Parts(b'{"progress": 0.1}\n', *end)
    answer, shares = explain(lambda r: httpx.Response(200, headers=OURS, stream=broken))
    assert shares == [0.1] and answer.status == 503


def test_a_stream_that_fails_before_any_progress_has_the_handlers_code_once():
    body = b'{"success":false,"error":"no","code":"damaged_image","status":400}\n'
    answer, _ = explain(lambda r: httpx.Response(400, headers={ANSWER_HEADER: "damaged_image"}, content=body))
    assert answer.code == "damaged_image" and answer.line() == body


def test_a_stream_that_fails_after_progress_has_the_handlers_status_and_code():
    """TorchServe has sent 200 by then."""
    body = refuse(500, "no", ErrorCode.INTERNAL).line()
    stream = Parts(b'{"progress": 0.1}\n', body)
    answer, _ = explain(lambda r: httpx.Response(200, headers=OURS, stream=stream))
    assert answer.status == 500 and answer.line() == body


def test_torchserves_counters_are_passed_on_without_its_host_and_nothing_else():
    asked = []

    def metrics(handler: Handler) -> bytes:
        return asyncio.run(
            TorchServe(Settings(torchserve_url="http://localhost:9000"), httpx.MockTransport(handler)).metrics()
        )

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        text = (
            "# TYPE ts_queue_latency_microseconds counter\n"
            'ts_queue_latency_microseconds{model_name="mlbio",model_version="default",hostname="secret",} 1.5\n'
            'CPUUtilization{Level="Host",Hostname="secret",} 100.0\nnonsense ts_x 1\n'
        )
        return httpx.Response(200, text=text)

    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("planted")

    assert metrics(handler) == (
        b"# TYPE ts_queue_latency_microseconds counter\n"
        b'ts_queue_latency_microseconds{model_name="mlbio",model_version="default",} 1.5\n'
    )
    assert asked == ["http://127.0.0.1:9002/metrics"]
    assert metrics(broken) == metrics(lambda request: httpx.Response(404, text="ts_x 1")) == b""
