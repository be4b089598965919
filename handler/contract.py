"""The documented JSON of ``POST /predict``: parsed, checked and written in this one place.

The French values of ``precision`` are the contract; ``low|medium|high`` mean the same.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

CLASSES: dict[str, str] = {
    "akiec": "Actinic keratoses",
    "bcc": "Basal cell carcinoma",
    "bkl": "Benign keratosis-like lesions",
    "df": "Dermatofibroma",
    "mel": "Melanoma",
    "nv": "Melanocytic nevi",
    "vasc": "Vascular lesions",
}
"""HAM10000's ``dx`` codes in the order of the network's outputs, and the names that are answered."""

MALIGNANT = ("akiec", "bcc", "mel")
"""Diagnoses that are cancer or may become one."""

PRECISIONS = ("Faible", "Moyenne", "Importante")
DEFAULT_PRECISION = "Moyenne"
_PRECISION_ALIASES = {"low": "Faible", "medium": "Moyenne", "high": "Importante"} | {p.lower(): p for p in PRECISIONS}

DIGITS = 4
"""Decimals of a probability. More would be rounding noise of the engine, not knowledge."""

_FIELDS = ("image", "explain", "precision", "details")
_DATA_URL = re.compile(r"\s*data:[^,]{0,200},", re.IGNORECASE)


class ContractError(ValueError):
    """The request is not of the documented form. Its message says what to change.

    Attributes:
        status: the HTTP status that fits, 400 unless said otherwise.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Request:
    """One checked request. ``image`` holds the file's bytes; ``precision`` is one of :data:`PRECISIONS`."""

    image: bytes
    explain: bool = False
    precision: str = DEFAULT_PRECISION
    details: bool = False


@dataclass(frozen=True)
class Answer:
    """What one request gets: an HTTP status and the documented JSON."""

    status: int
    body: bytes

    @property
    def retry(self) -> bool:
        """Whether trying again soon makes sense, which ``Retry-After`` then says."""
        return self.status == 503


def parse_request(body: Any) -> Request:
    """Parse and check a request's JSON: bytes, text, or already an object.

    Raises:
        ContractError: not JSON, a field missing, unknown or of the wrong type, or bad base64.
    """
    fields = _parse_json(body) if isinstance(body, (bytes, bytearray, str)) else body
    if not isinstance(fields, dict):
        raise ContractError('the body must be a JSON object such as {"image": "<base64>"}')
    _refuse_unknown(fields)
    if "image" not in fields:
        raise ContractError('the field "image" is missing: it holds the photograph in base64')
    return _request(_decode_image(fields["image"]), fields)


def parse_form(image: bytes, fields: dict[str, Any]) -> Request:
    """A request whose photograph came as bytes, and the other fields as texts of a form.

    Raises:
        ContractError: a field unknown or of the wrong kind.
    """
    texts = {k: v.decode("utf-8", "replace") if isinstance(v, (bytes, bytearray)) else v for k, v in fields.items()}
    words = {"true": True, "1": True, "false": False, "0": False}
    checked = {
        name: words.get(value.lower(), value) if name != "precision" and isinstance(value, str) else value
        for name, value in texts.items()
    }
    _refuse_unknown(checked)
    return _request(image, checked)


def parse_precision(word: Any) -> str:
    """``word`` in any case, with or without accents, French or English, as one of :data:`PRECISIONS`.

    Raises:
        ContractError: another word, or no text.
    """
    if isinstance(word, str) and len(word) <= 100:  # a longer one would only cost time
        folded = unicodedata.normalize("NFKD", word.strip())
        folded = "".join(c for c in folded if not unicodedata.combining(c)).lower()
        if folded in _PRECISION_ALIASES:
            return _PRECISION_ALIASES[folded]
    raise ContractError(
        f'"precision" is {_quote(word)}: it must be one of {", ".join(PRECISIONS)} (or low, medium, high)'
    )


def success(
    prediction: str, probability: float, explain: list | None = None, details: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The documented answer; ``prediction`` is a ``dx`` code. ``details`` appears only when given."""
    answer = {
        "success": True,
        "prediction": CLASSES[prediction],
        "probability": round(float(probability), DIGITS),
        "explain": explain,
    }
    return answer if details is None else answer | {"details": details}


def failure(error: str) -> dict[str, Any]:
    """The documented failure envelope."""
    return {"success": False, "error": error}


def refuse(status: int, error: str) -> Answer:
    """The failure envelope with an HTTP status."""
    return Answer(status, dump(failure(error)))


def dump(answer: dict[str, Any]) -> bytes:
    """``answer`` as compact UTF-8 JSON.

    Raises:
        ValueError: it holds NaN or an infinity, which JSON has no words for.
    """
    text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "backslashreplace")  # half a surrogate pair has no UTF-8; JSON writes it as \ud800


def _parse_json(body: bytes | bytearray | str) -> Any:
    try:
        return json.loads(body)
    except RecursionError:
        raise ContractError("the body is nested too deeply to be a request") from None
    except json.JSONDecodeError as error:
        raise ContractError(f"the body is not JSON ({error})") from None
    except UnicodeDecodeError:
        raise ContractError("the body is not JSON (it is not UTF-8 text)") from None
    except ValueError:  # Python's limit on the digits of an integer
        raise ContractError("the body holds a number that is too long to be read") from None


def _request(image: bytes, fields: dict[str, Any]) -> Request:
    return Request(
        image=image,
        explain=_boolean(fields, "explain"),
        precision=parse_precision(fields.get("precision", DEFAULT_PRECISION)),
        details=_boolean(fields, "details"),
    )


def _refuse_unknown(fields: dict[str, Any]) -> None:
    for name in fields:
        if name not in _FIELDS:
            raise ContractError(f"unknown field {_quote(name)}: the fields are {', '.join(_FIELDS)}")


def _boolean(fields: dict[str, Any], name: str) -> bool:
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise ContractError(f'"{name}" is {_quote(value)}: it must be true or false')
    return value


def _decode_image(value: Any) -> bytes:
    if not isinstance(value, str):
        raise ContractError(f'"image" is {_quote(value)}: it must be text, the photograph in base64')
    prefix = _DATA_URL.match(value)
    text = value[prefix.end() :] if prefix else value
    text = "".join(text.split())  # line breaks, as `base64` and MIME write them
    if not text:
        raise ContractError('"image" is empty: it must hold the photograph in base64')
    text = text.replace("-", "+").replace("_", "/")  # the URL-safe alphabet
    text += "=" * (-len(text) % 4)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ContractError('"image" is not base64: encode the bytes of the file, not its name or text') from None


def _quote(value: Any) -> str:
    """The beginning of ``value`` as JSON, short enough to be read in a message, however large it is."""
    text = ""
    try:
        for piece in json.JSONEncoder(ensure_ascii=False).iterencode(value):
            text += piece[:60]
            if len(text) > 60:
                break
    except (TypeError, ValueError):
        text = type(value).__name__
    return text if len(text) <= 60 else text[:57] + "…"
