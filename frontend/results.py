"""A photograph's outcome on the page, under the settings that were chosen for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from api.client import Client, ServiceError, ServiceUnreachable
from api.contract import DEFAULT_PRECISION, Prediction
from api.pictures import explanation_png


@dataclass(frozen=True)
class Settings:
    """The person's choice. Precision matters only for an explanation, so without one it is always the default."""

    explain: bool = False
    precision: str = DEFAULT_PRECISION

    def __str__(self) -> str:
        return f"with an explanation, precision {self.precision}" if self.explain else "without explanation"


@dataclass(frozen=True)
class Result:
    """The outcome for one photograph: either ``answer`` or ``error``.

    Attributes:
        explanation: PNG file, at the size at which the service computed it; None where there is none.
    """

    settings: Settings
    answer: Prediction | None = None
    error: str | None = None
    explanation: bytes | None = None


def classify(
    client: Client, image: bytes, settings: Settings, on_progress: Callable[[float], None] | None = None
) -> Result:
    """Ask the service about one photograph. What it refuses is a result with its error text.

    Raises:
        ServiceUnreachable: there is no service.
    """
    try:
        answer = client.predict(image, explain=settings.explain, precision=settings.precision, on_progress=on_progress)
        explanation = None if answer.explain is None else explanation_png(answer.explain)
    except ServiceUnreachable:
        raise
    except (ServiceError, ValueError) as error:
        return Result(settings, error=str(error))
    return Result(settings, answer, explanation=explanation)
