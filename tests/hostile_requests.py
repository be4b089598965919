"""A corpus of hostile HTTP requests to the gateway: what each sends, and which statuses fit. None of it is stored."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from tests.hostile_photographs import GIF, HOSTILE, JPEG, ORIENTATION, PROFILE, PROGRESSIVE, png_of
from tests.pictures import encoded, noise, picture

BAD = frozenset({400})
FINE = frozenset({200})
EITHER = FINE | BAD

MAX_FILE = 24_000_000
"""Bytes of a photograph whose base64 is within the gateway's limit on a request."""


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


def send(image: bytes) -> bytes:
    return post(b'{"image": "' + base64.b64encode(image) + b'"}')


def photographs() -> Iterator[Case]:
    """Bombs, oddities, and files that are cut or damaged."""
    for name, make in HOSTILE.items():
        data = make()
        if len(data) <= MAX_FILE:
            yield Case(name, send(data), FINE if name.startswith("read: ") else BAD)
    small = noise(64, 48, grain=2)
    files = {
        "JPEG": encoded(small, "JPEG", exif=ORIENTATION, icc_profile=PROFILE),
        "progressive JPEG": PROGRESSIVE,
        "MPO": encoded(small, "MPO", save_all=True, append_images=[small]),
        "PNG": encoded(small, "PNG", icc_profile=PROFILE, exif=ORIENTATION),
        "WebP": encoded(small, "WEBP", exif=ORIENTATION),
        "animated WebP": encoded(small, "WEBP", save_all=True, append_images=[small.rotate(90)]),
        "BMP": encoded(small, "BMP"),
        "TIFF": encoded(small, "TIFF", compression="tiff_lzw", exif=ORIENTATION),
        "plain TIFF": encoded(small, "TIFF"),
        "GIF": GIF,
    }
    rng = np.random.default_rng(0)
    for kind, data in files.items():
        for share in np.linspace(0.01, 0.99, 12):
            yield Case(f"{kind} cut at {share:.0%}", send(data[: max(1, int(share * len(data)))]), EITHER)
        for i in range(8):
            damaged = bytearray(data)
            for at in rng.integers(0, len(data) if i % 2 else min(200, len(data)), 5):
                damaged[at] = rng.integers(256)
            yield Case(f"{kind} damaged, {i}", send(bytes(damaged)), EITHER)
    odd = {mode: encoded(small.convert(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGBA")}
    odd |= {"CMYK": encoded(small.convert("CMYK"), "JPEG"), "16 bits": encoded(Image.new("I;16", (9, 9), 999), "PNG")}
    odd |= {"NaN": encoded(Image.fromarray(np.full((9, 9), np.nan, np.float32)), "TIFF")}
    for size in ((1, 1), (12_000, 1), (1, 12_000), (3, 224)):
        odd |= {f"{kind} of {size}": encoded(Image.new("RGB", size), kind) for kind in ("PNG", "JPEG", "WEBP", "BMP")}
    for name, data in odd.items():
        yield Case(f"odd: {name}", send(data), FINE)
    for name, data in {
        "no pixels": png_of(0, 5),
        "text": b"C'est une photo.",
        "one byte": b"\0",
        "zeros": bytes(100_000),
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200),
        "PDF": b"%PDF-1.7",
        "ZIP": b"PK\x03\x04" + bytes(100),
        "EPS": encoded(picture(), "EPS"),
        "AVIF": encoded(picture(), "AVIF"),
        "its own JSON": GOOD,
        "a pickle": b"cos\nsystem\n(S'true'\ntR.",
    }.items():
        yield Case(f"no photograph: {name}", send(data), BAD)


def bodies() -> Iterator[Case]:
    """JSON that is wrong, large, deep or no JSON."""
    values = ["null", "1", "-1", "1.5", "-0", "1e999", "-1e999", "NaN", "Infinity", "true", "false"]
    values += ["[]", "{}", "[[]]", "[null]"]
    values += ['""', '"true"', r'"\ud800"']
    values += ['"' + "x" * 100_000 + '"', "1" * 5000, "[" * 500 + "]" * 500, '{"a":' * 50 + "1" + "}" * 50]
    image = base64.b64encode(JPEG).decode()
    for field in ("image", "explain", "precision", "details"):
        for value in values:
            fields = {"image": f'"{image}"'} | {field: value}
            body = "{" + ", ".join(f'"{k}": {v}' for k, v in fields.items()) + "}"
            wanted = {"explain": ("false",), "details": ("true", "false")}.get(field, ())
            if (field, value) != ("explain", "true"):  # a correct request, which takes seconds
                yield Case(f"{field}: {value[:20]}", post(body.encode()), FINE if value in wanted else BAD)
    for at in range(0, len(GOOD), len(GOOD) // 20):
        yield Case(f"JSON cut at {at}", post(GOOD[:at]), BAD)
    for depth in (10, 100, 1000, 10_000, 100_000):
        for opening in (b"[", b'{"image":', b'{"image": "AAAA", "explain": ['):
            yield Case(f"{depth} times {opening.decode()}", post(opening * depth), BAD)
    lists = b"[]," * (16 * 2**20 // 3) + b"[]"
    text = image.encode()
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
        ("the file itself", JPEG, BAD),
        ("a path as the image", b'{"image": "/etc/passwd"}', BAD),
        ("a URL as the image", b'{"image": "http://127.0.0.1:8081/models"}', BAD),
        ("a data URL of another kind", b'{"image": "data:text/html;base64,PGI+"}', BAD),
        ("a long prefix", b'{"image": "data:' + b"x" * 10**6 + b",AAAA" + b'"}', BAD),
    ):  # fmt: skip
        yield Case(name, post(body), statuses)


def http() -> Iterator[Case]:
    """Methods, paths, headers, lengths, and bytes that are no HTTP."""
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO", "post"):
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


GROUPS: dict[str, Iterable[Case]] = {"photographs": photographs(), "bodies": bodies(), "HTTP": http()}
