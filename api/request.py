"""Requests to ``POST /predict``: their type, how they are parsed, and how errors in them are explained.

Validation, error messages and the OpenAPI schema all come from :class:`PredictRequest`. The French values of
``precision`` are the documented ones; ``low``, ``medium`` and ``high`` mean the same.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from api.errors import ErrorCode

Precision = Literal["Faible", "Moyenne", "Importante"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
DEFAULT_PRECISION: Precision = "Moyenne"
_PRECISION_WORDS: dict[str, Precision] = {"low": "Faible", "medium": "Moyenne", "high": "Importante"}
_PRECISION_WORDS |= {p.lower(): p for p in PRECISIONS}

MAX_QUOTED = 60
"""Characters of a client's input that an error message repeats."""

_DATA_URL = re.compile(r"\s*data:[^,]{0,200},", re.IGNORECASE)


class ContractError(ValueError):
    """The request does not follow the documentation. The message says what to change.

    Attributes:
        status: the HTTP status to answer with.
        code: the error code to answer with; that of the status unless given.
    """

    def __init__(self, message: str, status: int = 400, code: ErrorCode | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


_PRECISION_RULE = f"one of {', '.join(PRECISIONS)} (or low, medium, high)"


class Options(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The fields of a request other than the photograph. ``must_be`` completes an error message."""

    explain: Annotated[bool, Meta(description="Also compute a picture of why.", extra={"must_be": "true or false"})] = (
        False
    )
    precision: Annotated[
        str,
        Meta(
            description=f"How carefully the explanation is computed: {', '.join(PRECISIONS)}; low, medium and high "
            "mean the same, in any case, with or without accents.",
            examples=[DEFAULT_PRECISION],
            extra={"must_be": _PRECISION_RULE},
        ),
    ] = DEFAULT_PRECISION
    details: Annotated[bool, Meta(description="Also answer `details`.", extra={"must_be": "true or false"})] = False


class PredictRequest(Options, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of ``POST /predict``."""

    image: Annotated[
        str,
        Meta(
            description="The file of a photograph (JPEG, HEIC, PNG, WebP, BMP, TIFF or GIF) in base64; line breaks and "
            "a `data:` prefix are allowed.",
            extra={"must_be": "text, the photograph in base64"},
        ),
    ]


@dataclass(frozen=True)
class Request:
    """A checked request. ``image`` holds the bytes of the file; ``precision`` is one of :data:`PRECISIONS`."""

    image: bytes
    explain: bool = False
    precision: Precision = DEFAULT_PRECISION
    details: bool = False


def parse_json(body: bytes | bytearray | str) -> Request:
    """Parse and validate the JSON of a request, and decode its photograph.

    Raises:
        ContractError: not JSON, a field missing, unknown or of the wrong type, or bad base64.
    """
    with _readable_errors():
        return _request(_decode(body))


def parse_object(fields: Any) -> Request:
    """Like :func:`parse_json`, for JSON that has already been parsed.

    Raises:
        ContractError: a field missing, unknown or of the wrong type, or bad base64.
    """
    with _readable_errors():
        return _request(msgspec.convert(fields, PredictRequest))


def parse_form(image: bytes, fields: Mapping[str, str | bytes | bytearray]) -> Request:
    """A request whose photograph came as bytes and whose options came as form fields.

    Raises:
        ContractError: an option is unknown or has a wrong value.
    """
    texts = {
        name: value.decode("utf-8", "replace") if isinstance(value, (bytes, bytearray)) else value
        for name, value in fields.items()
    }
    with _readable_errors():
        options = msgspec.convert(texts, Options, strict=False)
    return Request(image, options.explain, normalise_precision(options.precision), options.details)


@contextlib.contextmanager
def _readable_errors() -> Iterator[None]:
    """Turn msgspec's errors into a :class:`ContractError` that says what to change."""
    try:
        yield
    except msgspec.ValidationError as error:
        raise ContractError(_validation_message(str(error))) from None
    except msgspec.DecodeError as error:
        raise ContractError(_decode_message(str(error))) from None
    except UnicodeError:
        raise ContractError("the body is not JSON (it is not UTF-8 text)") from None
    except RecursionError:
        raise ContractError("the body is nested too deeply to be a request") from None


def normalise_precision(word: str) -> Precision:
    """``word`` in any case, with or without accents, French or English, as one of :data:`PRECISIONS`.

    Raises:
        ContractError: another word.
    """
    if len(word) <= MAX_QUOTED:  # no precision is longer
        folded = unicodedata.normalize("NFKD", word.strip())
        folded = "".join(c for c in folded if not unicodedata.combining(c)).lower()
        if folded in _PRECISION_WORDS:
            return _PRECISION_WORDS[folded]
    raise ContractError(f'"precision" is {_quote(word)}: it must be {_PRECISION_RULE}')


def _decode(body: bytes | bytearray | str) -> PredictRequest:
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # Some tools write a byte order mark, or UTF-16.
        if isinstance(body, str) or body[:1] in b"{" or (encoding := json.detect_encoding(body)) == "utf-8":
            raise
        return _decoder.decode(body.decode(encoding))


def _request(fields: PredictRequest) -> Request:
    return Request(_decode_image(fields.image), fields.explain, normalise_precision(fields.precision), fields.details)


def _decode_image(text: str) -> bytes:
    try:
        image = binascii.a2b_base64(text, strict_mode=True)  # what most clients send
    except ValueError:
        image = _decode_lenient(text)
    if not image:
        raise ContractError(
            '"image" is empty: the file had no content, or was not read before it was encoded',
            code=ErrorCode.EMPTY_IMAGE,
        )
    return image


def _decode_lenient(text: str) -> bytes:
    """Base64 in other forms: a ``data:`` prefix, line breaks, no padding, the URL-safe alphabet."""
    if prefix := _DATA_URL.match(text):
        text = text[prefix.end() :]
    text = "".join(text.split()).replace("-", "+").replace("_", "/")
    text += "=" * (-len(text) % 4)
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise ContractError('"image" is not base64: encode the bytes of the file, not its name or text') from None


# Built at import: msgspec 0.22 crashes if two threads build the first decoder of a class at the same time.
_decoder = msgspec.json.Decoder(PredictRequest)
msgspec.json.Decoder(Options)
_FIELDS = msgspec.structs.fields(PredictRequest)
_MUST_BE = {field.name: field.type.__metadata__[0].extra["must_be"] for field in _FIELDS}
_JSON_TYPES = {
    "str": "text",
    "bool": "true or false",
    "int": "a number",
    "float": "a number",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def _decode_message(error: str) -> str:
    """The position of the error, from msgspec's ``JSON is malformed: invalid character (byte 3)``."""
    if at := re.search(r"\(byte (\d+)\)", error):
        return f"the body is not JSON: byte {at[1]} is not what JSON has there"
    return "the body is not JSON: it is empty, ends too early, or has half a surrogate pair"


def _validation_message(error: str) -> str:
    """What to change, from msgspec's ``Expected `bool`, got `str` - at `$.explain```."""
    if missing := re.match(r"Object missing required field `(\w+)`", error):
        return f'the field "{missing[1]}" is missing: it must be {_MUST_BE[missing[1]]}'
    if unknown := re.match(r"Object contains unknown field `(.*)`", error, re.DOTALL):
        names = ", ".join(["image", *(name for name in _MUST_BE if name != "image")])
        return f"unknown field {_quote(unknown[1])}: the fields are {names}"
    if (field := re.search(r" - at `\$\.(\w+)", error)) and field[1] in _MUST_BE:
        got = re.search(r"got `(\w+)`", error)
        kind = f"is {_JSON_TYPES.get(got[1], got[1])}: it " if got else ""
        return f'"{field[1]}" {kind}must be {_MUST_BE[field[1]]}'
    return 'the body must be a JSON object such as {"image": "<base64>"}'


def _quote(text: str) -> str:
    """``text`` as JSON, which escapes control characters; cut if it is long."""
    return json.dumps(text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 1] + "…", ensure_ascii=False)
