"""TorchServe's inference API as the gateway uses it: which pool to ask, and what its own errors mean."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import uuid
from collections.abc import AsyncGenerator, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx

from api.answer import Answer, Effort, refuse
from api.deadline import Deadline
from api.headers import (
    ANSWER_HEADER,
    CANCEL_HEADER,
    DEADLINE_HEADER,
    EFFORT_HEADER,
    EFFORT_LINE,
    EXPIRY_HEADER,
    EXPLAIN_POOL,
    JOB_HEADER,
    POOL,
    REQUEST_ID_HEADER,
    STREAM_TYPE,
)
from api.request import Request
from gateway.backend import FULL, GRACE_SECONDS, LOST, out_of_time
from gateway.processes import torchserve_addresses
from gateway.record import current
from gateway.settings import Settings
from gateway.traces import Part

CONNECT_SECONDS = 5.0

METRICS_SECONDS = 2.0

IDLE_POLL_SECONDS = 0.1

_COUNTER = re.compile(rb"^(?:# \w+ )?ts_\w.*$", re.MULTILINE)
_HOSTNAME = re.compile(rb'hostname="[^"]*",?')

_PROGRESS = b'{"progress"'


class TorchServe:
    """A client of TorchServe's inference API. Every call has a time limit; every failure becomes an answer.

    Args:
        settings: of the gateway.
        transport: of httpx, for tests.
    """

    def __init__(self, settings: Settings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.settings = settings
        self._calls = 0
        self._cancelling: set[asyncio.Task[None]] = set()
        self._client = httpx.AsyncClient(
            base_url=settings.torchserve_url,
            limits=httpx.Limits(max_connections=200, max_keepalive_connections=kept_connections(settings)),
            trust_env=False,
            transport=transport,
        )

    async def idle(self) -> None:
        """Return when no call is under way."""
        while self._calls or self._cancelling:
            await asyncio.sleep(IDLE_POLL_SECONDS)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1

    async def close(self) -> None:
        """Close the connections, after cancellations that are on their way."""
        await asyncio.gather(*self._cancelling, return_exceptions=True)
        await self._client.aclose()

    async def predict(self, request: Request, seconds: float | None = None) -> Answer:
        """A diagnosis without an explanation, within ``seconds`` (the settings' limit unless given)."""
        seconds = seconds or self.settings.predict_seconds
        span = Part("model server", {"mlbio.pool": POOL})
        try:
            with self._counted():
                async with asyncio.timeout(seconds):
                    response = await self._client.post(**_call(POOL, request, Deadline.after(seconds), {}))
        except (httpx.HTTPError, TimeoutError) as error:
            return _failure(error, seconds)
        finally:
            span.end()
        return _answer(response, response.content)

    async def explain(self, request: Request, seconds: float, stream: bool) -> AsyncGenerator[bytes | Answer]:
        """A diagnosis and its explanation within ``seconds``.

        Yields lines of progress if ``stream``, and finally the answer. Leaving early (closing the generator, or
        cancelling its task) cancels the work in TorchServe as well, if it has both pools: the one worker of a single
        pool hears of it when it has finished.
        """
        job_id, finished = uuid.uuid4().hex, False
        headers = {JOB_HEADER: job_id, DEADLINE_HEADER: Deadline.after(seconds).to_header(), EFFORT_HEADER: "1"}
        headers |= {"accept": STREAM_TYPE} if stream else {}
        span = Part("model server", {"mlbio.pool": EXPLAIN_POOL})
        try:
            # `torchserve --start --models mlbio.mar` has only the first pool, which explains as well.
            with self._counted():
                async for part in self._first_pool((EXPLAIN_POOL, POOL), request, headers, seconds + GRACE_SECONDS):
                    if isinstance(part, Answer):
                        finished = part.status != 504
                    yield part
        finally:
            span.end()
            if not finished:
                task = asyncio.create_task(self._cancel(job_id))
                self._cancelling.add(task)
                task.add_done_callback(self._cancelling.discard)

    async def metrics(self) -> bytes:
        """TorchServe's own counters by pool, in Prometheus' text format; nothing if they cannot be had.

        They are on the loopback interface of TorchServe's machine, so not within reach from another container.
        """
        with contextlib.suppress(httpx.HTTPError, TimeoutError):
            async with asyncio.timeout(METRICS_SECONDS):
                response = await self._client.get(f"{torchserve_addresses(self.settings)['metrics_address']}/metrics")
            if response.status_code == 200:
                return b"".join(_HOSTNAME.sub(b"", line) + b"\n" for line in _COUNTER.findall(response.content))
        return b""

    async def _first_pool(
        self, pools: tuple[str, ...], request: Request, headers: dict[str, str], seconds: float
    ) -> AsyncGenerator[bytes | Answer]:
        """What the first of ``pools`` that TorchServe knows answers."""
        for pool in pools:
            async with contextlib.aclosing(self._lines(pool, request, headers, seconds)) as parts:
                async for part in parts:
                    if pool != pools[-1] and isinstance(part, Answer) and part.status == 404:
                        break  # no such pool
                    yield part
                else:
                    return

    async def _lines(
        self, pool: str, request: Request, headers: dict[str, str], seconds: float
    ) -> AsyncGenerator[bytes | Answer]:
        """One pool's lines of progress and its answer."""
        end = asyncio.get_running_loop().time() + seconds
        call = self._client.stream("POST", **_call(pool, request, Deadline.after(seconds), headers))
        try:
            async with contextlib.AsyncExitStack() as stack:
                # A time limit belongs to a task, and each part may be asked for by another one.
                async with asyncio.timeout_at(end):
                    response = await stack.enter_async_context(call)
                    if response.status_code != 200:
                        body = await response.aread()
                if response.status_code != 200:
                    yield _answer(response, body)
                    return
                rest, effort = b"", None
                parts = response.aiter_bytes()
                while True:
                    async with asyncio.timeout_at(end):
                        part = await anext(parts, None)
                    if part is None:
                        break
                    *lines, rest = (rest + part).split(b"\n")
                    for line in lines:
                        if line.startswith(EFFORT_LINE):
                            effort = _read_effort(line)
                            continue
                        if not line.startswith(_PROGRESS):
                            rest = line  # the answer, which is the last
                            break
                        yield line + b"\n"
                yield _answer(response, rest, effort)
        except (httpx.HTTPError, TimeoutError) as error:
            yield _failure(error, seconds)

    async def _cancel(self, job_id: str) -> None:
        """Mark a job as cancelled. If that fails, only computing time is lost."""

        async def tell(server: str) -> None:
            with contextlib.suppress(httpx.HTTPError):
                await self._client.post(f"{server}/predictions/{POOL}", headers={CANCEL_HEADER: job_id})

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.gather(*map(tell, await self._servers()))

    async def _servers(self) -> list[str]:
        """What to put before a path to reach each model server; nothing for the one at the settings' address."""
        if not (name := self.settings.torchserve_peers):
            return [""]
        url = urlsplit(self.settings.torchserve_url)
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except OSError:
            return [""]
        hosts = {str(address[4][0]) for address in found}
        return [f"{url.scheme}://{f'[{host}]' if ':' in host else host}:{port}" for host in hosts]


def kept_connections(settings: Settings) -> int:
    """How many connections are kept for later requests.

    None to other machines: behind one name there may be several servers, and a connection leads to the same one, also
    when that is about to stop, and never to a new one.
    """
    return 20 if urlsplit(settings.torchserve_url).hostname in ("127.0.0.1", "localhost", "::1") else 0


def _call(pool: str, request: Request, expiry: Deadline, headers: dict[str, str]) -> dict[str, Any]:
    """Arguments for httpx: the form that TorchServe's own users send with ``curl -F``."""
    return {
        "url": f"/predictions/{pool}",
        "files": {"image": ("image", request.image, "application/octet-stream")},
        "data": request.form_fields(),
        "headers": headers | {EXPIRY_HEADER: expiry.to_header(), REQUEST_ID_HEADER: current().id},
        # The callers' own limits are for the whole call; httpx's is for each wait in it.
        "timeout": httpx.Timeout(None, connect=CONNECT_SECONDS),
    }


def _failure(error: httpx.HTTPError | TimeoutError, seconds: float) -> Answer:
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        return refuse(503, "the model server is not running or still starting: try again in a moment")
    if isinstance(error, (httpx.TimeoutException, TimeoutError)):
        return out_of_time(seconds)
    return refuse(503, "the connection to the model server broke: try again")


def _answer(response: httpx.Response, body: bytes, effort: Effort | None = None) -> Answer:
    """Our handler's answer as it is; TorchServe's own errors in our words."""
    if ANSWER_HEADER in response.headers:
        effort = effort or Effort.from_header(response.headers.get(EFFORT_HEADER, ""))
        return Answer(response.status_code, body.rstrip(b"\n"), effort)
    return translate_error(response.status_code)


def _read_effort(line: bytes) -> Effort | None:
    try:
        return Effort.from_header(str(json.loads(line)["effort"]))
    except ValueError:
        return None


def translate_error(status: int) -> Answer:
    """An error of TorchServe itself, whose body does not follow the contract."""
    if status == 404:
        return refuse(404, "the model server has no model of that name: start it with mlbio.mar")
    if status == 413:
        return refuse(413, "the photograph is too large: make it smaller")
    if status in (408, 504):
        return refuse(504, "the model server ran out of time: try again later")
    if status == 503:
        return refuse(503, FULL)
    if status in (500, 507):  # a worker died or ran out of memory; TorchServe starts another
        return refuse(503, LOST)
    return refuse(502, f"the model server answered {status}, which was not expected: see its log")
