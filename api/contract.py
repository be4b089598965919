"""The documented JSON of ``POST /predict``: the types of requests and answers, and what is wrong with a request.

Validation, error texts and the OpenAPI schemas all come from these types. The French values of ``precision`` are the
contract; ``low``, ``medium`` and ``high`` mean the same.
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
from msgspec import UNSET, Meta, Struct, UnsetType

from api.classes import CLASSES
from api.errors import ErrorCode, code_of

Precision = Literal["Faible", "Moyenne", "Importante"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
DEFAULT_PRECISION: Precision = "Moyenne"
_PRECISION_WORDS: dict[str, Precision] = {"low": "Faible", "medium": "Moyenne", "high": "Importante"}
_PRECISION_WORDS |= {p.lower(): p for p in PRECISIONS}

StopReason = Literal["settled", "budget", "deadline"]
"""Why sampling for an explanation ended."""

DECIMALS = 4
"""Of a probability: more would be the engine's rounding noise."""

MAX_QUOTED = 60
"""Characters of a client's input that an error text repeats."""

_EFFORT = re.compile(r"(\d{1,9}) (\d{1,9}\.\d{1,6})")
_DATA_URL = re.compile(r"\s*data:[^,]{0,200},", re.IGNORECASE)


class ContractError(ValueError):
    """The request does not follow the contract. The message says what to change.

    Attributes:
        status: the HTTP status to answer with.
        code: the error code to answer with; that of the status unless given.
    """

    def __init__(self, message: str, status: int = 400, code: ErrorCode | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


# Requests

_PRECISION_RULE = f"one of {', '.join(PRECISIONS)} (or low, medium, high)"


class Options(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The fields of a request beside the photograph. ``must_be`` completes the text of an error."""

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
            description="The file of a photograph (JPEG, PNG, WebP, BMP, TIFF or GIF) in base64; line breaks and a "
            "`data:` prefix are allowed.",
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

    def form_fields(self) -> dict[str, str]:
        """The options as texts of a form, which :func:`parse_form` reads."""
        return {
            "explain": str(self.explain).lower(),
            "precision": self.precision,
            "details": str(self.details).lower(),
        }


def parse_json(body: bytes | bytearray | str) -> Request:
    """Parse and check the JSON of a request, and decode its photograph.

    Raises:
        ContractError: not JSON, a field missing, unknown or of the wrong type, or bad base64.
    """
    with _explained():
        return _request(_decode(body))


def parse_object(fields: Any) -> Request:
    """As :func:`parse_json`, for JSON that has been parsed already.

    Raises:
        ContractError: a field missing, unknown or of the wrong type, or bad base64.
    """
    with _explained():
        return _request(msgspec.convert(fields, PredictRequest))


def parse_form(image: bytes, fields: Mapping[str, str | bytes | bytearray]) -> Request:
    """A request whose photograph came as bytes and whose options came as texts of a form.

    Raises:
        ContractError: an option is unknown or has a wrong value.
    """
    texts = {
        name: value.decode("utf-8", "replace") if isinstance(value, (bytes, bytearray)) else value
        for name, value in fields.items()
    }
    with _explained():
        options = msgspec.convert(texts, Options, strict=False)
    return Request(image, options.explain, normalise_precision(options.precision), options.details)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn msgspec's errors into a :class:`ContractError` that says what to change."""
    try:
        yield
    except msgspec.ValidationError as error:
        raise ContractError(_explain(str(error))) from None
    except msgspec.DecodeError as error:
        raise ContractError(_not_json(str(error))) from None
    except UnicodeError:
        raise ContractError("the body is not JSON (it is not UTF-8 text)") from None
    except RecursionError:
        raise ContractError("the body is nested too deeply to be a request") from None


def normalise_precision(word: str) -> Precision:
    """``word`` in any case, with or without accents, French or English, as one of :data:`PRECISIONS`.

    Raises:
        ContractError: another word.
    """
    if len(word) <= MAX_QUOTED:  # folding a long text would cost time for nothing
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
        image = binascii.a2b_base64(text, strict_mode=True)  # what most clients send needs no second look
    except ValueError:
        image = _decode_lenient(text)
    if not image:
        raise ContractError('"image" is empty: it must hold the photograph in base64', code=ErrorCode.EMPTY_IMAGE)
    return image


def _decode_lenient(text: str) -> bytes:
    """Base64 as people write it: a ``data:`` prefix, line breaks, no padding, the URL-safe alphabet."""
    if prefix := _DATA_URL.match(text):
        text = text[prefix.end() :]
    text = "".join(text.split()).replace("-", "+").replace("_", "/")
    text += "=" * (-len(text) % 4)
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise ContractError('"image" is not base64: encode the bytes of the file, not its name or text') from None


# The first Decoder of a class makes what decoding it needs; if two threads make it at once, msgspec 0.22 crashes.
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


def _not_json(error: str) -> str:
    """Where it goes wrong, from msgspec's ``JSON is malformed: invalid character (byte 3)``."""
    if at := re.search(r"\(byte (\d+)\)", error):
        return f"the body is not JSON: byte {at[1]} is not what JSON has there"
    return "the body is not JSON: it is empty, ends too early, or has half a surrogate pair"


def _explain(error: str) -> str:
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
    """The beginning of ``text`` as JSON, which escapes control characters."""
    return json.dumps(text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 1] + "…", ensure_ascii=False)


# Answers

Diagnosis = Annotated[str, Meta(extra_json_schema={"enum": list(CLASSES.values())})]
Probability = Annotated[float, Meta(ge=0, le=1)]
Pixel = Annotated[list[Annotated[int, Meta(ge=0, le=255)]], Meta(min_length=3, max_length=3)]


class Malignant(Struct, frozen=True):
    """Actinic keratoses, basal cell carcinoma and melanoma together."""

    probability: Probability
    threshold: Annotated[float, Meta(description="95 % of the malignant photographs held out from training reach it.")]
    flagged: Annotated[bool, Meta(description="Whether the probability reaches the threshold.")]
    sensitivity: Annotated[
        Probability | None,
        Meta(
            description="Share of malignant test photographs that are flagged, from the model's score card; null if "
            "there is none for this model."
        ),
    ] = None
    false_alarm_rate: Annotated[
        Probability | None, Meta(description="Share of the other test photographs that are flagged all the same.")
    ] = None


class OutOfDistribution(Struct, frozen=True):
    """How unlike the training photographs the picture is."""

    score: Annotated[float, Meta(description="2 % of the photographs held out from training exceed 1.")]
    flagged: Annotated[bool, Meta(description="Whether the score exceeds 1: do not trust the diagnosis.")]


class Model(Struct, frozen=True):
    """The model that answered."""

    architecture: str
    version: Annotated[str, Meta(description="First digits of the checkpoint's SHA-256.")]
    epoch: int | None = None
    bias_strength: Annotated[
        float | None,
        Meta(
            description="Of the bias of rare classes that MLBIO_BIAS_STRENGTH chose instead of the model's own; all "
            "probabilities, the malignant flag and `plausible` are with it. Null: the model's own, as in its card."
        ),
    ] = None


class Pair(Struct, frozen=True):
    """Two regions of an explanation whose effects do not simply add up."""

    regions: tuple[int, int]
    interaction: Annotated[
        float,
        Meta(
            description="By how much more the two add to the log-odds together than each alone. Positive: they support "
            "the diagnosis only together. Negative: one can stand in for the other."
        ),
    ]


class Regions(Struct, frozen=True):
    """The regions of an explanation, to draw them on the full photograph."""

    map: Annotated[
        str,
        Meta(
            description="A grey PNG file of 224 x 224 pixels in base64: the number of each pixel's region, for the "
            "centre square of the photograph."
        ),
    ]
    weights: Annotated[
        list[float],
        Meta(
            description="What showing each region adds to the log-odds of the diagnosis, averaged over the others: the "
            "regions' Shapley values in the local model with pairs."
        ),
    ]
    standard_errors: Annotated[list[float], Meta(description="Of the weights, from sampling alone.")]
    pairs: Annotated[
        list[Pair],
        Meta(description="The strongest interactions that can be told from all others, the strongest first."),
    ]


class ExplanationFigures(Struct, frozen=True):
    """How an explanation went, and how far to trust it."""

    precision: Precision
    samples: Annotated[int, Meta(description="Perturbed photographs that were classified.")]
    seconds: float
    r2: Annotated[float, Meta(description="R² of LIME's weighted local regression of the log-odds.")]
    r2_with_pairs: Annotated[
        float, Meta(description="R² of the local model with interactions of pairs of regions, on samples left out.")
    ]
    completeness: Annotated[
        float | None,
        Meta(
            description="Sum of the weights over the difference of the log-odds between the photograph and one with "
            "every region hidden: 1 for a perfect local model. Null if that difference is near zero."
        ),
    ]
    stability: Annotated[
        float,
        Meta(
            description="Expected Jaccard index of the five strongest regions with those that another set of "
            "perturbations would find."
        ),
    ]
    target: Annotated[float, Meta(description="The stability that the precision asks for.")]
    reached: Annotated[bool, Meta(description="Whether the stability reaches the target.")]
    stopped: Annotated[
        StopReason,
        Meta(description="Why sampling ended; after a deadline the explanation is the best so far."),
    ]
    regions: Regions
    r2_with_triples: Annotated[
        float | None,
        Meta(
            description="As r2_with_pairs, of a local model that has interactions of three regions, too. Null if the "
            "model's archive is of a version before this figure."
        ),
    ] = None


class Details(Struct, frozen=True):
    """What is answered beyond the documented four keys, on request."""

    probabilities: Annotated[dict[str, Probability], Meta(description="Of all seven diagnoses.")]
    malignant: Malignant | None
    out_of_distribution: OutOfDistribution | None
    model: Model
    explanation: ExplanationFigures | None
    plausible: Annotated[
        list[Diagnosis] | None,
        Meta(
            description="The diagnoses that cannot be excluded, the most probable first. For 90 % of the photographs "
            "held out from training, the true one is among them. Null if the model has no threshold for it."
        ),
    ] = None


class Prediction(Struct, frozen=True, kw_only=True):
    """The answer to a request that succeeded."""

    success: Annotated[bool, Meta(extra_json_schema={"enum": [True]})] = True
    prediction: Diagnosis
    probability: Annotated[Probability, Meta(description="Of the prediction, calibrated.")]
    explain: Annotated[
        list[list[Pixel]] | None,
        Meta(
            description="H x W x 3 integers: the photograph with the regions that support the diagnosis outlined in "
            "green; null unless asked for."
        ),
    ] = None
    details: Details | UnsetType = UNSET


class Failure(Struct, frozen=True, kw_only=True):
    """The answer to a request that failed."""

    success: Annotated[bool, Meta(extra_json_schema={"enum": [False]})] = False
    error: Annotated[str, Meta(description="What went wrong, and what to change.")]
    code: Annotated[
        ErrorCode | UnsetType,
        Meta(description="Only in the last line of a stream; other responses have the header `X-MLBIO-Error`."),
    ] = UNSET


@dataclass(frozen=True)
class Effort:
    """What an explanation took: perturbed photographs, and seconds of computing."""

    samples: int
    seconds: float

    def to_header(self) -> str:
        """``SAMPLES SECONDS``."""
        return f"{self.samples} {self.seconds:.3f}"

    @classmethod
    def from_header(cls, text: str) -> Effort | None:
        """Read :meth:`to_header`'s text; None if it is not understood."""
        match = _EFFORT.fullmatch(text)
        return cls(int(match[1]), float(match[2])) if match else None


@dataclass(frozen=True)
class Answer:
    """What one request gets: an HTTP status and the documented JSON."""

    status: int
    body: bytes
    effort: Effort | None = None
    code: ErrorCode | None = None

    @property
    def retry(self) -> bool:
        """Whether trying again soon makes sense, which ``Retry-After`` then says."""
        return self.status in (429, 503)

    def line(self) -> bytes:
        """The last line of a stream, which includes the error code: the headers have been sent before."""
        body = self.body
        if self.code is not None:
            with contextlib.suppress(msgspec.DecodeError):
                failure = msgspec.json.decode(body, type=Failure)
                body = msgspec.json.encode(msgspec.structs.replace(failure, code=self.code))
        return body + b"\n"


def succeed(prediction: Prediction, effort: Effort | None = None) -> Answer:
    """The documented success; ``effort`` is for metrics and not part of it."""
    return Answer(200, msgspec.json.encode(prediction), effort)


def refuse(status: int, error: str, code: ErrorCode | None = None) -> Answer:
    """The documented failure with an HTTP status, and the error code of that status unless another is given."""
    # Half a surrogate pair, which JSON allows in a client's text, has no UTF-8.
    text = error.encode("utf-8", "backslashreplace").decode()
    return Answer(status, msgspec.json.encode(Failure(error=text)), code=code or code_of(status))
