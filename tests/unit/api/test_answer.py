"""Answers, as they are encoded."""

from __future__ import annotations

import json

import pytest

from api.answer import Prediction, refuse, succeed
from api.classes import CLASSES
from api.errors import ErrorCode


@pytest.mark.parametrize("name", CLASSES.values())
def test_a_success_has_exactly_the_four_documented_keys(name):
    answer = succeed(Prediction(prediction=name, probability=0.95))
    assert answer.status == 200 and answer.retry_after is None
    expected = {"success": True, "prediction": name, "probability": 0.95, "explain": None}
    assert json.loads(answer.body) == expected and list(json.loads(answer.body)) == list(expected)


def test_details_come_last_and_only_when_given():
    answer = json.loads(succeed(Prediction(prediction="Melanoma", probability=0.5, details=None)).body)
    assert list(answer) == ["success", "prediction", "probability", "explain", "details"]


def test_a_failure_has_exactly_the_two_documented_keys():
    assert json.loads(refuse(400, "why").body) == {"success": False, "error": "why"}
    assert list(json.loads(refuse(400, "why").body)) == ["success", "error"]


def test_a_stream_has_status_code_and_delay_of_a_failure_in_its_last_line():
    answer = refuse(400, "why", ErrorCode.NOT_AN_IMAGE)
    assert answer.code == ErrorCode.NOT_AN_IMAGE
    failure = {"success": False, "error": "why"}
    assert json.loads(answer.line()) == failure | {"code": "not_an_image", "status": 400}
    lost = refuse(503, "why", ErrorCode.UNAVAILABLE)
    assert json.loads(lost.line()) == failure | {"code": "unavailable", "status": 503, "retry_after": lost.retry_after}
    assert [refuse(status, "why").code for status in (400, 413, 418, 429, 500, 503, 504)] == [
        "invalid_request", "too_large", "invalid_request", "rate_limited", "internal", "busy", "timeout",
    ]  # fmt: skip
    success = succeed(Prediction(prediction="Melanoma", probability=0.5))
    assert success.code is None and success.line() == success.body + b"\n"


def test_answers_are_compact_utf8():
    assert refuse(400, "précision").body == '{"success":false,"error":"précision"}'.encode()


def test_only_a_full_service_and_a_limit_are_worth_a_retry():
    worth = {status: refuse(status, "why").retry_after for status in (400, 401, 413, 429, 500, 502, 503, 504)}
    assert [status for status, retry in worth.items() if retry] == [429, 503]
