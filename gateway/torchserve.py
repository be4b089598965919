"""A client of TorchServe's inference API, and what TorchServe's own errors mean."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import uuid
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from api.answer import Answer, Failure, refuse
from api.deadline import Deadline
from api.errors import ErrorCode, code_of
from api.headers import (
    ANSWER_HEADER,
    CANCEL_HEADER,
    DEADLINE_HEADER,
    EXPIRY_HEADER,
    EXPLAIN_POOL,
    JOB_HEADER,
    POOL,
    REQUEST_ID_HEADER,
    STREAM_TYPE,
)
from api.request import Request
from gateway.backend import FULL, GRACE_SECONDS, LOST, OnProgress, out_of_time
from gateway.middleware import current
from gateway.settings import Settings
from gateway.traces import instrument_client

CONNECT_SECONDS = 5.0

METRICS_SECONDS = 2.0

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
        self._cancelling: set[asyncio.Task[None]] = set()
        self._client = httpx.AsyncClient(
            base_url=settings.torchserve_url,
            limits=httpx.Limits(max_connections=200, max_keepalive_connections=kept_connections(settings)),
            trust_env=False,
            transport=transport,
        )
        instrument_client(self._client)

    async def close(self) -> None:
        """Close the connections, after pending cancellations."""
        await asyncio.gather(*self._cancelling, return_exceptions=True)
        await self._client.aclose()

    async def predict(self, request: Request, seconds: float) -> Answer:
        """A diagnosis without an explanation, within ``seconds``."""
        try:
            async with asyncio.timeout(seconds):
                response = await self._client.post(**_call(POOL, request, Deadline.after(seconds), {}))
        except (httpx.HTTPError, TimeoutError) as error:
            return _failure(error, seconds)
        return _answer(response, response.content)

    async def explain(self, request: Request, seconds: float, on_progress: OnProgress | None = None) -> Answer:
        """A diagnosis and its explanation, which after ``seconds`` is the best so far.

        Cancelling the task cancels the work in TorchServe as well, if it has both pools: the one worker of a single
        pool notices when it has finished.
        """
        job_id = uuid.uuid4().hex
        headers = {JOB_HEADER: job_id, DEADLINE_HEADER: Deadline.after(seconds).to_header()}
        seconds += GRACE_SECONDS
        try:
            async with asyncio.timeout(seconds):
                answer = await self._explain(request, Deadline.after(seconds), headers, on_progress)
        except (httpx.HTTPError, TimeoutError) as error:
            answer = _failure(error, seconds)
        except BaseException:
            self._cancel(job_id)
            raise
        if answer.status == 504:
            self._cancel(job_id)
        return answer

    async def _explain(
        self, request: Request, expiry: Deadline, headers: dict[str, str], on_progress: OnProgress | None
    ) -> Answer:
        """The answer of the pool for explanations, or of the other if it is missing.

        ``torchserve --start --models mlbio.mar`` has only the other, which explains as well.
        """
        if on_progress is not None:
            headers = headers | {"accept": STREAM_TYPE}
        for pool in (EXPLAIN_POOL, POOL):
            last = b""
            async with self._client.stream("POST", **_call(pool, request, expiry, headers)) as response:
                async for line in _lines(response):
                    if on_progress is not None and line.startswith(_PROGRESS):
                        await on_progress(json.loads(line)["progress"])
                    elif line:
                        last = line
            if response.status_code != 404:
                break
        return _answer(response, last)

    async def metrics(self) -> bytes:
        """TorchServe's own counters by pool, in Prometheus' text format; empty if they are not available.

        They are on the loopback interface of TorchServe's machine, so another container cannot reach them.
        """
        with contextlib.suppress(httpx.HTTPError, TimeoutError):
            async with asyncio.timeout(METRICS_SECONDS):
                response = await self._client.get(f"{torchserve_addresses(self.settings)['metrics_address']}/metrics")
            if response.status_code == 200:
                return b"".join(_HOSTNAME.sub(b"", line) + b"\n" for line in _COUNTER.findall(response.content))
        return b""

    def _cancel(self, job_id: str) -> None:
        """Begin to mark a job as cancelled. If that fails, only computing time is lost."""

        async def cancel(server: str) -> None:
            with contextlib.suppress(httpx.HTTPError):
                await self._client.post(
                    f"{server}/predictions/{POOL}", headers={CANCEL_HEADER: job_id}, timeout=CONNECT_SECONDS
                )

        async def cancel_everywhere() -> None:
            await asyncio.gather(*map(cancel, await self._servers()))

        task = asyncio.create_task(cancel_everywhere())
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)

    async def _servers(self) -> list[str]:
        """The base URL of each model server; empty for the one at the settings' address."""
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


def torchserve_addresses(settings: Settings) -> dict[str, str]:
    """TorchServe's own settings: inference at the configured address, management and metrics at the next two ports.

    The last two are on loopback wherever inference is.
    """
    parts = urlsplit(settings.torchserve_url)
    port = parts.port or 8080
    return {
        "inference_address": f"http://{parts.hostname}:{port}",
        "management_address": f"http://127.0.0.1:{port + 1}",
        "metrics_address": f"http://127.0.0.1:{port + 2}",
    }


def kept_connections(settings: Settings) -> int:
    """How many idle connections are kept.

    None to other machines: there may be several servers behind a name, and a kept connection would lead to the same
    one even if it is about to stop, and never to a new one.
    """
    return 20 if urlsplit(settings.torchserve_url).hostname in ("127.0.0.1", "localhost", "::1") else 0


async def _lines(response: httpx.Response) -> AsyncIterator[bytes]:
    """The lines of a response, as they arrive."""
    rest = b""
    async for chunk in response.aiter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
    yield rest


def _call(pool: str, request: Request, expiry: Deadline, headers: dict[str, str]) -> dict[str, Any]:
    """Arguments for httpx: a form, as TorchServe's own users send with ``curl -F``."""
    return {
        "url": f"/predictions/{pool}",
        "files": {"image": ("image", request.image, "application/octet-stream")},
        "data": {
            "explain": str(request.explain).lower(),
            "precision": request.precision,
            "details": str(request.details).lower(),
        },
        "headers": headers | {EXPIRY_HEADER: expiry.to_header(), REQUEST_ID_HEADER: current().id},
        # The callers limit the whole call; httpx would limit each read.
        "timeout": httpx.Timeout(None, connect=CONNECT_SECONDS),
    }


def _failure(error: httpx.HTTPError | TimeoutError, seconds: float) -> Answer:
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        return refuse(
            503, "the model server is not running or still starting: try again in a moment", ErrorCode.UNAVAILABLE
        )
    if isinstance(error, (httpx.TimeoutException, TimeoutError)):
        return out_of_time(seconds)
    return refuse(503, "the connection to the model server broke: try again", ErrorCode.UNAVAILABLE)


def _answer(response: httpx.Response, body: bytes) -> Answer:
    """Our handler's answer unchanged, or an answer for one of TorchServe's own errors."""
    if ANSWER_HEADER not in response.headers:
        return translate_error(response.status_code)
    if not body:  # the worker died after reporting progress
        return refuse(503, LOST, ErrorCode.UNAVAILABLE)
    if response.status_code != 200:
        return Answer(response.status_code, body, _error_code(response))
    if body.startswith(b'{"success":false'):  # after progress; its status and code are in it
        failure = msgspec.json.decode(body, type=Failure)
        return refuse(failure.status or 500, failure.error, failure.code or None)
    return Answer(200, body)


def _error_code(response: httpx.Response) -> ErrorCode:
    try:
        return ErrorCode(response.headers[ANSWER_HEADER])
    except ValueError:  # an earlier version of the handler
        return code_of(response.status_code)


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
        return refuse(503, LOST, ErrorCode.UNAVAILABLE)
    return refuse(502, f"the model server answered {status}, which was not expected: see its log")
