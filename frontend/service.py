"""What the page asks of the service at ``POST /predict``, and photographs made ready to be shown."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import requests
from PIL import Image, ImageOps

PRECISIONS = ("Faible", "Moyenne", "Importante")
DEFAULT_PRECISION = "Moyenne"

EXTENSIONS = ("jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "tif", "tiff", "gif")
"""Names of the files that can be chosen, in any case. What a file really holds is for the service to judge."""

# A little longer than the service gives itself, so that it can say why.
CONNECT_SECONDS, CLASSIFY_SECONDS, EXPLAIN_SECONDS = 5, 40, 200

_SHOWN_SIDE = 512
_MAX_PIXELS = 64_000_000
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")  # Pillow reads MPO as JPEG and knows no opener of that name


class Unreachable(Exception):
    """Nothing answers at the service's address: there is no point in asking for the next photograph."""


@dataclass(frozen=True)
class Settings:
    """What the person chose. Precision matters only for an explanation, so without one it is always the default."""

    explain: bool = False
    precision: str = DEFAULT_PRECISION

    def __str__(self) -> str:
        return f"with an explanation, precision {self.precision}" if self.explain else "without explanation"


@dataclass(frozen=True)
class Result:
    """The outcome for one photograph: either ``error`` or the rest."""

    settings: Settings
    error: str | None = None
    prediction: str = ""
    probability: float = 0.0
    probabilities: dict[str, float] = field(default_factory=dict)
    explanation: bytes | None = None
    """PNG, at the size at which the service computed it."""
    fit: float | None = None
    stability: float | None = None
    """Expected agreement, 0 to 1, of the strongest regions with those of another set of samples."""
    malignant: float | None = None
    """The malignant diagnoses' summed probability, where it is too high to be passed over."""
    unlike: bool = False
    """Whether the photograph is unlike those that the model was trained on."""


def service_url() -> str:
    """Where the service is: ``MLBIO_URL``, or this machine's port 8089."""
    return (os.environ.get("MLBIO_URL") or "http://127.0.0.1:8089").rstrip("/")


def classify(
    image: bytes, settings: Settings, url: str, progress: Callable[[float], None] = lambda share: None
) -> Result:
    """Ask the service about one photograph; what it refuses comes back as a result with its own words.

    ``progress`` hears how far an explanation is, from 0 to 1.

    Raises:
        Unreachable: nobody listens at ``url``.
    """
    body: dict[str, Any] = {"image": base64.b64encode(image).decode(), "explain": settings.explain, "details": True}
    if settings.explain:
        body["precision"] = settings.precision
    seconds = EXPLAIN_SECONDS if settings.explain else CLASSIFY_SECONDS
    try:
        with requests.Session() as session:
            session.trust_env = False  # a proxy of the environment has no business with photographs of patients
            response = session.post(
                f"{url}/predict",
                json=body,
                headers={"accept": "application/x-ndjson"},
                timeout=(CONNECT_SECONDS, seconds),
                allow_redirects=False,
                stream=True,
            )
            with response:
                return _read(response, settings, progress)
    except requests.ReadTimeout:
        return Result(settings, error=f"The service did not answer within {seconds} seconds. Try again later.")
    except requests.exceptions.ChunkedEncodingError:
        return Result(settings, error="The service broke off in the middle of its answer. Try again.")
    except requests.RequestException as error:
        raise Unreachable(str(error)) from error


def _read(response: requests.Response, settings: Settings, progress: Callable[[float], None]) -> Result:
    answer = None
    try:
        for line in response.iter_lines(chunk_size=2**16):
            answer = json.loads(line)
            if (share := _number(_mapping(answer).get("progress"))) is not None:
                progress(share)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or "success" not in answer:
        return Result(
            settings,
            error=f"What answers at {response.url} is not the service (HTTP {response.status_code}): check MLBIO_URL.",
        )
    if answer["success"] is not True:
        return Result(settings, error=str(answer.get("error") or f"HTTP {response.status_code}, no reason given"))
    prediction, probability = answer.get("prediction"), _number(answer.get("probability"))
    if not isinstance(prediction, str) or probability is None:
        return Result(settings, error="The service's answer holds no prediction and probability: update this page.")
    details = _mapping(answer.get("details"))
    malignant = _mapping(details.get("malignant"))
    figures = _mapping(details.get("explanation"))
    explanation = answer.get("explain")
    return Result(
        settings,
        prediction=prediction,
        probability=probability,
        probabilities={
            str(name): value
            for name, p in _mapping(details.get("probabilities")).items()
            if (value := _number(p)) is not None
        },
        explanation=None if explanation is None else _png(explanation),
        fit=_number(figures.get("r2")),
        stability=_number(figures.get("stability")),
        malignant=_number(malignant.get("probability")) if malignant.get("flagged") is True else None,
        unlike=_mapping(details.get("out_of_distribution")).get("flagged") is True,
    )


def _mapping(value: Any) -> dict:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _png(rows: Any) -> bytes | None:
    """The answer's H x W x 3 numbers as PNG; ``None`` where they are no picture."""
    try:
        pixels = np.asarray(rows)
    except ValueError:  # rows of different lengths
        return None
    if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size or pixels.dtype.kind not in "iuf":
        return None
    return _encode(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)))


def shown(image: bytes) -> bytes | None:
    """A photograph as a small upright PNG that every browser shows; ``None`` where it cannot be decoded.

    Browsers show no TIFF, and turning by EXIF is left to each, so the page never sends the file as it came.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = Image.open(io.BytesIO(image), formats=_FORMATS)
            if picture.width * picture.height > _MAX_PIXELS:
                return None
            picture.draft(None, (_SHOWN_SIDE, _SHOWN_SIDE))
            picture = ImageOps.exif_transpose(picture)
            if picture.mode.startswith("I") or picture.mode == "F":  # deep grey, which Pillow would clip to white
                picture = Image.fromarray(_to_8_bit(np.asarray(picture, dtype=np.float64)))
            if picture.has_transparency_data:
                picture = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
            picture = picture.convert("RGB")
            picture.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE))
            return _encode(picture)
    except Exception:  # noqa: BLE001 - Pillow raises many types on corrupt files; the service says what is wrong
        return None


def _to_8_bit(values: np.ndarray) -> np.ndarray:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return np.clip(np.nan_to_num((values - low) / ((high - low) or 1.0) * 255), 0, 255).astype(np.uint8)


def _encode(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
