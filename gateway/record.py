"""What is recorded about a request while it is answered, for its log line, metrics and the model server's logs."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

import msgspec
from msgspec import UNSET, Struct, UnsetType

from api.answer import Answer, Details, ExplanationFigures

_PLAIN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass
class Record:
    """One request.

    Attributes:
        id: sent to the model server and back to the client in ``X-Request-ID``.
        pool: the model server's pool that it is for; empty if the request was refused before.
        key: the name of its API key; empty without one.
        answer: of the model server or the gateway; the status of a stream's response says nothing about its end.
        explanation: its figures.
    """

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    pool: str = ""
    key: str = ""
    answer: Answer | None = None
    explanation: ExplanationFigures | None = None


_current: ContextVar[Record] = ContextVar("record")


def begin(wanted_id: str) -> Record:
    """The record of a request that has just arrived; its id is ``wanted_id`` if that is short and plain."""
    record = Record(wanted_id) if _PLAIN_ID.fullmatch(wanted_id) else Record()
    _current.set(record)
    return record


def current() -> Record:
    """The record of the request that is being answered; a new one outside of requests."""
    return _current.get(None) or Record()


def record_answer(answer: Answer) -> Answer:
    """Record the answer of the current request; returns it."""
    current().answer = answer
    return answer


class _Explained(Struct, frozen=True):
    """An :class:`api.answer.Prediction` of which only the details are decoded: the picture is long."""

    success: bool
    prediction: str
    probability: msgspec.Raw
    explain: msgspec.Raw
    details: Details | UnsetType = UNSET


_explained = msgspec.json.Decoder(_Explained)


def record_explanation(answer: Answer, details: bool) -> Answer:
    """Record an answer that has details, and the figures of its explanation; returns it without its details unless
    ``details``."""
    try:
        prediction = _explained.decode(answer.body)
    except msgspec.DecodeError:  # a failure, or the answer of another version
        return record_answer(answer)
    if prediction.details:
        current().explanation = prediction.details.explanation
    if not details:
        body = msgspec.json.encode(msgspec.structs.replace(prediction, details=UNSET))
        answer = replace(answer, body=body)
    return record_answer(answer)
