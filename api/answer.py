"""Answers of ``POST /predict``: their types, from which the OpenAPI schemas come, and how they are encoded."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from api.classes import CLASSES, MALIGNANT
from api.errors import ErrorCode, code_of
from api.request import Precision

StopReason = Literal["settled", "budget", "deadline"]
"""Why sampling for an explanation ended."""

DECIMALS = 4
"""Of a probability; more would be numerical noise of the engine."""

Diagnosis = Annotated[str, Meta(extra_json_schema={"enum": list(CLASSES.values())})]
Probability = Annotated[float, Meta(ge=0, le=1)]
Pixel = Annotated[list[Annotated[int, Meta(ge=0, le=255)]], Meta(min_length=3, max_length=3)]

_MALIGNANT = f"Of {', '.join(CLASSES[code] for code in MALIGNANT)}."


class Malignant(Struct, frozen=True):
    """The malignant diagnoses together."""

    probability: Annotated[Probability, Meta(description=_MALIGNANT)]
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
        Probability | None, Meta(description="Share of the other test photographs that are flagged as well.")
    ] = None


class OutOfDistribution(Struct, frozen=True):
    """How unlike the training photographs the photograph is."""

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
    """Two regions of an explanation whose effects are not additive."""

    regions: tuple[int, int]
    interaction: Annotated[
        float,
        Meta(
            description="By how much more the two add to the log-odds together than each alone. Positive: they support "
            "the diagnosis only together. Negative: one can stand in for the other."
        ),
    ]


class Regions(Struct, frozen=True):
    """The regions of an explanation, for drawing on the full photograph."""

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
    standard_errors: Annotated[
        list[float] | None, Meta(description="Of the weights, from sampling alone. Null if the method has none.")
    ]
    pairs: Annotated[
        list[Pair],
        Meta(description="The strongest interactions that can be distinguished from all others, in descending order."),
    ]


class ExplanationFigures(Struct, frozen=True):
    """How an explanation was computed, and how far to trust it. LIME has all figures but perhaps the completeness."""

    precision: Precision
    samples: Annotated[int, Meta(description="Perturbed photographs that were classified.")]
    seconds: float
    r2: Annotated[float | None, Meta(description="R² of LIME's weighted local regression of the log-odds.")]
    r2_with_pairs: Annotated[
        float | None,
        Meta(description="R² of the local model with interactions of pairs of regions, on samples left out."),
    ]
    completeness: Annotated[
        float | None,
        Meta(
            description="Sum of the weights over the difference of the log-odds between the photograph and one with "
            "every region hidden: 1 for a perfect local model. Null if that difference is near zero."
        ),
    ]
    stability: Annotated[
        float | None,
        Meta(
            description="Expected Jaccard index of the five strongest regions with those that another set of "
            "perturbations would find."
        ),
    ]
    target: Annotated[float | None, Meta(description="The stability that the precision asks for.")]
    reached: Annotated[bool | None, Meta(description="Whether the stability reaches the target.")]
    stopped: Annotated[
        StopReason | None,
        Meta(description="Why sampling ended; after a deadline the explanation is the best so far."),
    ]
    regions: Regions


class Details(Struct, frozen=True):
    """What an answer has beyond the four documented keys, on request."""

    probabilities: Annotated[dict[str, Probability], Meta(description="Of every diagnosis.")]
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
    status: Annotated[
        int | UnsetType,
        Meta(description="Only in the last line of a stream: the HTTP status that a response without progress has."),
    ] = UNSET
    retry_after: Annotated[
        int | UnsetType,
        Meta(description="Only in the last line of a stream: seconds to wait, where `Retry-After` would be sent."),
    ] = UNSET


RETRY_SECONDS = 5
"""Value of ``Retry-After``: a worker that died is back in about that time."""


@dataclass(frozen=True)
class Answer:
    """The answer to one request: an HTTP status and the documented JSON."""

    status: int
    body: bytes
    code: ErrorCode | None = None

    @property
    def retry_after(self) -> int | None:
        """Seconds after which the request may succeed, for ``Retry-After``; None if it will not."""
        return RETRY_SECONDS if self.status in (429, 503) else None

    def line(self) -> bytes:
        """The last line of a stream. A failure includes its status, code and delay: the headers have been sent
        before."""
        body = self.body
        if self.code is not None:
            with contextlib.suppress(msgspec.DecodeError):
                failure = msgspec.json.decode(body, type=Failure)
                delay = UNSET if self.retry_after is None else self.retry_after
                failure = msgspec.structs.replace(failure, code=self.code, status=self.status, retry_after=delay)
                body = msgspec.json.encode(failure)
        return body + b"\n"


def succeed(prediction: Prediction) -> Answer:
    """The documented success."""
    return Answer(200, msgspec.json.encode(prediction))


def refuse(status: int, error: str, code: ErrorCode | None = None) -> Answer:
    """The documented failure with an HTTP status, and the error code of that status unless another is given."""
    # JSON from a client may contain lone surrogates, which UTF-8 cannot encode.
    text = error.encode("utf-8", "backslashreplace").decode()
    return Answer(status, msgspec.json.encode(Failure(error=text)), code=code or code_of(status))
