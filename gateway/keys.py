"""API keys: who may use the service, and how much.

A file has a line ``NAME:KEY`` for each key; empty lines and lines that begin with ``#`` are ignored. Any usual encoding
and any line endings will do. Keys are not given
in the environment, which every child process inherits and ``docker inspect`` shows.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.answer import refuse
from api.tables import MAX_REPORTED, TableError, read_lines
from gateway.admission import Limiter
from gateway.middleware import current
from gateway.responses import respond
from gateway.settings import Settings

SHORTEST_KEY = 20
"""Characters; shorter keys can be guessed."""

OPEN_PATHS = ("/healthz", "/readyz", "/openapi.json", "/docs", "/")
"""Answered without a key, like everything below ``/docs/``: they reveal nothing that is not public."""

NEEDED = "an API key is needed: send the header `Authorization: Bearer KEY`, or set MLBIO_API_KEY for our clients"

WRONG = "this API key is not valid: check the header `Authorization: Bearer KEY`, or MLBIO_API_KEY for our clients"

_LINE = re.compile(rf"([A-Za-z0-9._-]{{1,40}}):(\S{{{SHORTEST_KEY},}})")


class KeysError(ValueError):
    """The file of keys cannot be used. The message says what to change, and reveals nothing of the file."""


class Bucket:
    """A token bucket: ``per_minute`` requests a minute, and as many at once. 0 is no limit."""

    def __init__(self, per_minute: float) -> None:
        self._rate = per_minute / 60
        self._size = self._tokens = max(1.0, per_minute)
        self._filled = time.monotonic()

    def take(self) -> float:
        """Take a token; returns 0, or the seconds until there is one."""
        if not self._rate:
            return 0.0
        now = time.monotonic()
        self._tokens = min(self._size, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0


@dataclass(frozen=True)
class Key:
    """One key, with its limits.

    Attributes:
        name: of its owner, for logs.
        digest: SHA-256 of the key; the key itself is not kept.
        requests: limits the predictions a minute.
        explanations: limits those that run or wait; None for no limit.
    """

    name: str
    digest: bytes
    requests: Bucket
    explanations: Limiter | None


def load_keys(settings: Settings) -> list[Key]:
    """The keys of the settings' file; none without a file.

    Raises:
        KeysError: it cannot be read, or a line is wrong.
    """
    if not settings.api_keys_file:
        return []
    keys: dict[str, Key] = {}
    wrong: list[int] = []
    try:
        for number, line in read_lines(Path(settings.api_keys_file)):
            if line.startswith("#"):
                continue
            match = _LINE.fullmatch(line)
            if match is None or match[1] in keys:
                wrong.append(number)
                continue
            limiter = None
            if settings.key_explanations:
                label = "explanations with this API key"
                limiter = Limiter(label, settings.key_explanations, settings.queue_bytes, status=429)
            keys[match[1]] = Key(match[1], digest(match[2]), Bucket(settings.key_requests_per_minute), limiter)
    except TableError:
        raise KeysError("MLBIO_API_KEYS_FILE cannot be read: it names a text file that we may read") from None
    if wrong:
        numbers = ", ".join(map(str, wrong[:MAX_REPORTED])) + (", …" if len(wrong) > MAX_REPORTED else "")
        raise KeysError(
            f"MLBIO_API_KEYS_FILE, line {numbers}: NAME:KEY is needed, with a name of its own (letters, digits, '.', "
            f"'_' and '-') and a key of at least {SHORTEST_KEY} characters"
        )
    if not keys:
        raise KeysError("MLBIO_API_KEYS_FILE has no keys: a line NAME:KEY is needed for each")
    return list(keys.values())


def find_key(keys: Iterable[Key], text: str) -> Key | None:
    """The key with this text, in a time that reveals nothing about the keys."""
    given = digest(text)
    matching = [key for key in keys if hmac.compare_digest(key.digest, given)]
    return matching[0] if matching else None


def digest(key: str) -> bytes:
    """SHA-256 of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


class RequireKey:
    """ASGI middleware that refuses requests without a key, and those above the key's limit of requests.

    Args:
        app: gets the other requests, with the key in their record.
        keys: all that are valid.
    """

    def __init__(self, app: ASGIApp, keys: Iterable[Key]) -> None:
        self._app = app
        self._keys = tuple(keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or path in OPEN_PATHS or path.startswith("/docs/"):
            await self._app(scope, receive, send)
            return
        scheme, _, text = Headers(scope=scope).get("authorization", "").partition(" ")
        key = find_key(self._keys, text.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            answer = refuse(401, WRONG if text.strip() else NEEDED)
            await respond(answer, {"www-authenticate": 'Bearer realm="mlbio"'})(scope, receive, send)
            return
        current().key = key
        if path == "/predict" and (seconds := key.requests.take()):
            answer = refuse(429, "too many requests with this API key: try again later")
            await respond(answer, {"retry-after": str(int(seconds) + 1)})(scope, receive, send)
            return
        await self._app(scope, receive, send)
