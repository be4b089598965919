"""Hostile HTTP requests to the gateway: what each sends, which statuses fit, and a check of what it gets."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np

from tests.hostile_photographs import JPEG

BAD = frozenset({400})
FINE = frozenset({200})
EITHER = FINE | BAD

SECONDS = 20
"""Time limit of an answer; the slowest photographs take one or two."""

LEAKS = re.compile(
    r"Traceback|File \"|site-packages|/tmp|/usr|/root|/home|\.py\b|\bPIL\b|Pillow|msgspec|libtiff|libjpeg|libpng|"
    r"libwebp|zlib|h11|uvicorn|starlette|httpx|torch(?!serve)|numpy|Error\b|Exception|errno|0x[0-9a-f]{4}|decoder|"
    r"broken data",
    re.IGNORECASE,
)
"""What no text for a user may contain: paths, and words of libraries."""


@dataclass(frozen=True)
class Case:
    """A request as bytes, and the statuses that fit it.

    Attributes:
        cut: whether the connection is closed after it, as it announces more; it gets no answer.
    """

    name: str
    request: bytes
    statuses: frozenset[int]
    cut: bool = False


GOOD = json.dumps({"image": base64.b64encode(JPEG).decode()}).encode()


def post(body: bytes, *headers: str, path: str = "/predict", method: str = "POST") -> bytes:
    """An HTTP request with a fitting length."""
    lines = [f"{method} {path} HTTP/1.1", "host: test", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def head(*lines: str | bytes, body: bytes = b"") -> bytes:
    """An HTTP request of these lines."""
    return b"\r\n".join([*(x.encode("latin-1") if isinstance(x, str) else x for x in lines), b"", b""]) + body


def exchange(url: str, request: bytes, cut: bool = False) -> tuple[int, str, bytes]:
    """Status, content type and body of the response to a raw request; of no response if it is cut."""
    at = urlsplit(url)
    with socket.create_connection((at.hostname, at.port), timeout=SECONDS) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may be refused before it is complete
            connection.sendall(request)
        if cut:
            return 0, "", b""
        method = request.partition(b" ")[0].decode("latin-1")
        with http.client.HTTPResponse(connection, method=method if method == "HEAD" else None) as response:
            response.begin()
            return response.status, response.headers.get("content-type", ""), response.read()


def problem(url: str, case: Case) -> str:
    """What is wrong with the answer to a request: its status, or not in the documented form; empty if nothing is."""
    try:
        status, kind, body = exchange(url, case.request, case.cut)
        if case.cut:
            return ""
        assert status in case.statuses, (status, body[:300])
        if case.request.startswith(b"HEAD "):
            return ""
        assert kind == "application/json"
        fields = json.loads(body)
        if status == 200:
            assert list(fields)[:4] == ["success", "prediction", "probability", "explain"] and fields["success"] is True
        else:
            assert list(fields) == ["success", "error"] and fields["success"] is False
            assert 10 < len(fields["error"]) < 300 and not LEAKS.search(fields["error"]), fields["error"]
    except (AssertionError, OSError, ValueError, http.client.HTTPException) as error:
        return f"{type(error).__name__} {str(error)[:300]}"
    return ""


def bodies() -> Iterator[Case]:
    """JSON that is wrong, large, deep or no JSON."""
    for depth in (1000, 100_000):
        for opening in (b"[", b'{"image":', b'{"image": "AAAA", "explain": ['):
            yield Case(f"{depth} times {opening.decode()}", post(opening * depth), BAD)
    lists = b"[]," * (16 * 2**20 // 3) + b"[]"
    text = base64.b64encode(JPEG)
    for name, body, statuses in (
        ("16 MiB of lists", b"[" + lists + b"]", BAD),
        ("16 MiB of lists as the image", b'{"image": [' + lists + b"]}", BAD),
        ("16 MiB of lists as another field", b'{"other": [' + lists + b"]}", BAD),
        ("16 MiB of keys", b"{" + b'"a":1,' * (16 * 2**20 // 6) + b'"a":1}', BAD),
        ("16 MiB of a key", b'{"' + b"k" * 2**24 + b'": 1}', BAD),
        ("16 MiB of the same field", b"{" + b'"explain":true,' * 2**20 + b'"image":""}', BAD),
        ("30 MiB of blanks", b" " * (30 * 2**20), BAD),
        ("30 MiB of blanks as the image", b'{"image": "' + b" " * (30 * 2**20) + b'"}', BAD),
        ("30 MiB that is not base64", b'{"image": "' + b"*" * (30 * 2**20) + b'"}', BAD),
        ("30 MiB of escapes", b'{"image": "' + b"\\u0041" * (5 * 2**20) + b'"}', BAD),
        ("20 MiB of UTF-16", ("[" + "[]," * 3_000_000).encode("utf-16"), BAD),
        ("over the limit", b" " * (32 * 2**20 + 1), frozenset({413})),
        ("a field twice", b'{"image": "AAAA", "image": "' + text + b'"}', FINE),
        ("a field twice, the last wrong", b'{"image": "' + text + b'", "image": 5}', BAD),
        ("an unknown field", b'{"image": "' + text + b'", "x": 1}', BAD),
        ("a field in capitals", b'{"IMAGE": "' + text + b'"}', BAD),
        ("no fields", b"{}", BAD),
        ("nothing", b"", BAD),
        ("two objects", GOOD + GOOD, BAD),
        ("something behind", GOOD + b"x", BAD),
        ("a byte order mark", b"\xef\xbb\xbf" + GOOD, FINE),
        ("UTF-16", GOOD.decode().encode("utf-16"), FINE),
        ("UTF-32", GOOD.decode().encode("utf-32"), FINE),
        ("half of UTF-16", GOOD.decode().encode("utf-16")[:-1], BAD),
        ("invalid UTF-8", b'{"image": "\xff\xfe"}', BAD),
        ("invalid UTF-8 as a key", b'{"\xc3\x28": 1}', BAD),
        ("overlong UTF-8", b'{"image": "\xc0\x80"}', BAD),
        ("half a surrogate pair as a key", b'{"\\udfff": 1}', BAD),
        ("a control character", b'{"image": "\x01"}', BAD),
        ("zero bytes", bytes(1000), BAD),
        ("single quotes", b"{'image': 'AAAA'}", BAD),
        ("a comment", b"{/* */}", BAD),
        ("a form", b"image=AAAA&explain=true", BAD),
        ("XML", b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>", BAD),
        ("the file itself", JPEG, FINE),
        ("a path as the image", b'{"image": "/etc/passwd"}', BAD),
        ("a URL as the image", b'{"image": "http://127.0.0.1:8081/models"}', BAD),
        ("a data URL of another kind", b'{"image": "data:text/html;base64,PGI+"}', BAD),
        ("a long prefix", b'{"image": "data:' + b"x" * 10**6 + b",AAAA" + b'"}', BAD),
    ):  # fmt: skip
        yield Case(name, post(body), statuses)


def connections() -> Iterator[Case]:
    """Methods, paths, headers, lengths, and bytes that are no HTTP."""
    for method in ("GET", "HEAD", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO", "post"):
        yield Case(f"{method} /predict", post(GOOD, method=method), frozenset({405}))
    for path in ("/healthz", "/readyz", "/openapi.json", "/docs", "/"):
        yield Case(f"POST {path}", post(GOOD, path=path), frozenset({405}))
    for path in (
        "/predict/", "//predict", "/predict/x", "/Predict", "/predict%00", "/predict%0d%0aX:%20y", "/./predict",
        "/predictions/mlbio", "/models", "/metrics/x", "/ping", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd",
        "/docs/assets/../../../etc/passwd", "/docs/assets/%2e%2e%2f%2e%2e%2fetc/passwd", "/docs/assets//etc/passwd",
        "/docs/assets/%00", "/docs/assets/none.js", "/" + "a" * 50_000, "/%ff%fe", "/%", "/\\..\\..", "*",
        "http://elsewhere.invalid/predict/x",
    ):  # fmt: skip
        yield Case(f"GET {path[:50]}", head(f"GET {path} HTTP/1.1", "host: test"), frozenset({404}))
    yield Case("a query", post(GOOD, path="/predict?" + "a=b&" * 5000), FINE)
    length = f"content-length: {len(GOOD)}"
    start = ("POST /predict HTTP/1.1", "host: test")
    for value in ("x", "-1", "+5", "1.5", "", "0x10", "1,2", "٣".encode().decode("latin-1"), "9" * 30):
        statuses = frozenset({413}) if len(value) == 30 else BAD
        yield Case(f"length {value!r}", head(*start, f"content-length: {value}", body=GOOD), BAD | statuses)
    yield Case("two lengths", head(*start, length, "content-length: 5", body=GOOD), BAD)
    yield Case("a length of a terabyte", head(*start, f"content-length: {10**12}"), frozenset({413}))
    yield Case("a length too small", head(*start, f"content-length: {len(GOOD) - 5}", body=GOOD), BAD)
    yield Case("no length", head(*start, body=GOOD), BAD)
    for more in (1, 1000, 10**7):
        request = head(*start, f"content-length: {len(GOOD) + more}", body=GOOD)
        yield Case(f"a length {more} too large", request, frozenset(), cut=True)
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD)
    te = "transfer-encoding: chunked"
    yield Case("chunks", head(*start, te, body=chunks), FINE)
    yield Case(
        "chunks of a byte", head(*start, te, body=b"".join(b"1\r\n%c\r\n" % b for b in GOOD) + b"0\r\n\r\n"), FINE
    )
    yield Case("chunks and a length", head(*start, te, "content-length: 3", body=chunks), EITHER)
    yield Case("a chunk of no size", head(*start, te, body=b"zz\r\n"), BAD)
    yield Case("a chunk of a huge size", head(*start, te, body=b"f" * 100 + b"\r\n"), BAD)
    yield Case("a chunk that is longer", head(*start, te, body=b"5\r\n" + GOOD), BAD)
    yield Case("half a chunk", head(*start, te, body=b"ff\r\nabc"), frozenset(), cut=True)
    for value in ("gzip", "gzip, chunked", "identity", "chunked, chunked", "\tchunked x"):
        yield Case(f"transfer-encoding: {value}", head(*start, f"transfer-encoding: {value}", body=chunks), BAD | {501})
    flood = frozenset({431})
    yield Case("10,000 headers", post(GOOD, *(f"x-{i}: {'a' * 50}" for i in range(10_000))), flood)
    yield Case("a header of 1 MB", post(GOOD, "x: " + "a" * 10**6), flood)
    yield Case("a name of 1 MB", post(GOOD, "x" * 10**6 + ": a"), flood)
    yield Case("a path of 1 MB", post(GOOD, path="/" + "a" * 10**6), flood)
    yield Case("500 headers", post(GOOD, *(f"x-{i}: {i}" for i in range(500))), FINE)
    yield Case("the same header 500 times", post(GOOD, *["accept: text/html"] * 500), FINE)
    for line in (
        "content-type: text/plain", "content-type: \xff", "accept: image/png", "accept-encoding: br;q=9",
        "prefer: wait=-1", "prefer: wait=99999999999999999999", "prefer: wait=NaN", "expect: 100-continue",
        "upgrade: websocket", "upgrade: h2c", "x-mlbio-cancel: 00", "x-mlbio-deadline: nan", "x-mlbio-job: ../../x",
        "cookie: " + "a=b; " * 1000, "range: bytes=0-1", "x-forwarded-for: 127.0.0.1",
        "authorization: Basic " + "A" * 999,
    ):  # fmt: skip
        extra = ["connection: upgrade"] if line.startswith("upgrade") else []
        yield Case(line[:40], post(GOOD, line, *extra), FINE)
    yield Case("content-encoding: gzip", post(b"\x1f\x8b" + bytes(50), "content-encoding: gzip"), BAD)
    websocket = ("sec-websocket-version: 13", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==")
    request = head("GET /predict HTTP/1.1", "host: x", "connection: upgrade", "upgrade: websocket", *websocket)
    yield Case("a WebSocket", request, frozenset({405}))
    for name, line in {
        "a blank in a name": "x y: 1", "no colon": "nothing", "a folded header": " folded", "a zero byte": "x: \0",
        "a line feed": "x: a\nb: c\n\n", "a name in Latin-1": "\xe9: 1", "no name": ": 1",
    }.items():  # fmt: skip
        yield Case(f"a header with {name}", post(GOOD, line), EITHER)
    for name, data in {
        "HTTP/0.9": b"GET /predict\r\n\r\n", "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "HTTP/1.1 without a host": b"GET /predict HTTP/1.1\r\n\r\n",
        "HTTP/9.9": b"GET /predict HTTP/9.9\r\nhost: x\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(600) + b"\r\n\r\n", "text": b"hello\r\n\r\n",
        "zeros": bytes(1000) + b"\r\n\r\n", "colons": b":" * 1000 + b"\r\n\r\n",
        "a response": b"HTTP/1.1 200 OK\r\n\r\n",
        "no path": b"GET  HTTP/1.1\r\nhost: x\r\n\r\n", "two blanks": b"GET  /predict HTTP/1.1\r\nhost: x\r\n\r\n",
        "CONNECT": b"CONNECT elsewhere.invalid:443 HTTP/1.1\r\nhost: x\r\n\r\n",
    }.items():  # fmt: skip
        yield Case(f"no HTTP/1.1: {name}", data, frozenset({400, 404, 405}))
    rng = np.random.default_rng(1)
    for i in range(15):
        yield Case(f"random bytes, {i}", rng.bytes(300).replace(b"\n", b"") + b"\r\n\r\n", BAD)


GROUPS: dict[str, Callable[[], Iterator[Case]]] = {"bodies": bodies, "HTTP": connections}
