"""Request bodies: the documented JSON, a form, or the photograph's file itself; each may be compressed."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

import api.request
from api.errors import ErrorCode
from api.request import ContractError, parse_form, parse_json
from gateway.admission import TOO_LARGE, Slot
from gateway.settings import MAX_BODY

MAX_FIELDS = 20
"""Of a form. Any field beyond ours is refused, but each costs time first."""

_INFLATED = 1024 * 1024
"""Bytes that are decompressed at a time."""

_IMAGE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF....WEBP|BM.{4}\0\0\0\0|II[*+]\0|MM\0[*+]|GIF8[79]a|.{4}ftyp", re.DOTALL
)
"""How files of images begin, and nothing that is JSON."""

_JSON = re.compile(rb"\s*[\[{\"]|\xef\xbb\xbf|\xff\xfe|\xfe\xff|\0\0\xfe\xff|[\[{]\0|\0+[\[{]")
"""How JSON begins, in any encoding."""


async def decompress(body: bytes, encoding: str, slots: Sequence[Slot]) -> bytes:
    """The body without its ``Content-Encoding``; ``slots`` reserve its bytes as well.

    Raises:
        ContractError: another encoding than gzip or deflate (status 415), damaged, over
            :data:`gateway.settings.MAX_BODY` bytes (413), or too many bytes at once (503 or 429).
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise ContractError("the body has a Content-Encoding that is not known: use gzip, deflate or none", 415)
    # zlib recognises gzip and its own header; some programs send deflate without any.
    decoder = zlib.decompressobj(47 if encoding != "deflate" or body[:1] == b"\x78" else -15)
    parts: list[bytes] = []
    size, rest = 0, body
    try:
        while not decoder.eof and (rest or not parts):
            part = await run_in_threadpool(decoder.decompress, rest, _INFLATED)
            if not part and not decoder.unconsumed_tail:
                break
            size += len(part)
            if size > MAX_BODY:
                raise ContractError(TOO_LARGE, 413)
            for slot in slots:
                slot.reserve(len(body) + size)
            parts.append(part)
            rest = decoder.unconsumed_tail
    except zlib.error:
        raise ContractError(f"the body is not compressed as its Content-Encoding says: {encoding}") from None
    if not decoder.eof or decoder.unused_data:
        raise ContractError("the compressed body ends too early, or has more behind it")
    return b"".join(parts)


def parse(request: Request, body: bytes) -> api.request.Request:
    """The request in ``body``, by its ``Content-Type`` and by how it begins: many programs send a wrong type or none.

    Raises:
        ContractError: neither JSON, a form nor an image (status 415), or a field is wrong (400).
    """
    content_type, options = parse_options_header(request.headers.get("content-type", ""))
    if content_type == b"multipart/form-data":
        return _parse_multipart(body, options.get(b"boundary", b""))
    is_json = content_type.endswith(b"json") or _JSON.match(body)
    declared_image = content_type.startswith(b"image/") or content_type == b"application/octet-stream"
    if _IMAGE.match(body) or (declared_image and not is_json):
        return _photograph(body, dict(request.query_params))
    if content_type and not is_json:
        address = str(request.url.replace(query="", fragment=""))[:100]
        raise ContractError(
            f"send JSON, a form or the file of a photograph, for example: curl -F image=@photo.jpg {address}", 415
        )
    return parse_json(body)


def _photograph(image: bytes, options: Mapping[str, str | bytes]) -> api.request.Request:
    if not image:
        raise ContractError("the file is empty: send a photograph", code=ErrorCode.EMPTY_IMAGE)
    return parse_form(image, options)


def _parse_multipart(body: bytes, boundary: bytes) -> api.request.Request:
    """A form, whose field ``image`` is the file. It stays in memory: photographs are not written to disk."""
    fields: dict[str, bytes] = {}

    def add(name: bytes | None, value: bytes) -> None:
        if len(fields) >= MAX_FIELDS:
            raise FormParserError
        fields[(name or b"").decode("utf-8", "replace")] = value

    def on_field(field: Field) -> None:
        add(field.field_name, field.value or b"")

    def on_file(file: File) -> None:
        file.file_object.seek(0)
        add(file.field_name, file.file_object.read())

    try:
        parser = FormParser(
            "multipart/form-data", on_field, on_file, boundary=boundary, config={"MAX_MEMORY_FILE_SIZE": 2 * MAX_BODY}
        )
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise ContractError("the form cannot be read: send it as `curl -F image=@photo.jpg` does") from None
    image = fields.pop("image", None)
    if image is None:
        parse_form(b"", fields)  # names an unknown field, which is probably it
        raise ContractError('the field "image" is missing from the form: it must be the file of the photograph')
    return _photograph(image, fields)
