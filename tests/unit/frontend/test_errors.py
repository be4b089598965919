"""Errors in words for the user: the page must recognise the messages of the service and the decoder."""

from __future__ import annotations

import pytest

from api.client import AnswerInterrupted, RequestRefused, ServiceTimeout, UnexpectedAnswer
from api.limits import DAMAGED, MAX_PIXELS, NOT_AN_IMAGE, ImageError, check_size
from api.request import ContractError, parse_object
from frontend.errors import describe, is_retryable
from frontend.i18n import use_language
from gateway.keys import NEEDED


def message(function, *arguments) -> str:
    with pytest.raises((ContractError, ImageError)) as raised:
        function(*arguments)
    return str(raised.value)


REFUSALS = [
    (RequestRefused(message(parse_object, {"image": ""}), 400), "This file is empty"),
    (RequestRefused(NOT_AN_IMAGE, 400), "not a photograph that can be read"),
    (RequestRefused(DAMAGED, 400), "damaged or incomplete"),
    (RequestRefused(message(check_size, 13_000, 2, MAX_PIXELS), 400), "13000 × 2 pixels; neither side"),
    (
        RequestRefused(message(check_size, 10_000, 9_000, MAX_PIXELS), 400),
        "10000 × 9000 pixels; the limit is 64 million",
    ),
    (RequestRefused("over 32 MiB", 413), "too large"),
    (RequestRefused(NEEDED, 401), "requires an API key"),
    (RequestRefused("try again", 503), "is busy"),
    (RequestRefused("out of time", 504), "too long"),
    (ServiceTimeout("no answer"), "too long"),
    (AnswerInterrupted("broke off"), "connection to the service was lost"),
]


@pytest.mark.parametrize(("error", "words"), REFUSALS)
def test_known_errors_are_described_in_both_languages(error, words: str):
    english = describe(error)
    assert words in english and str(error) not in english
    with use_language("fr"):
        assert describe(error) != english


def test_numbers_are_written_as_the_language_does():
    side = RequestRefused(message(check_size, 13_000, 2, MAX_PIXELS), 400)
    part = RequestRefused("the image has 9000 x 9000 pixels; at most 12.5 million can be decoded", 400)
    assert "may exceed 12,000." in describe(side) and "12.5 million" in describe(part)
    with use_language("fr"):
        assert "dépasser 12\u202f000." in describe(side) and "12,5 millions" in describe(part)


@pytest.mark.parametrize("error", [RequestRefused("a new reason", 400), UnexpectedAnswer("another program")])
def test_unknown_ones_are_shown_as_they_came(error):
    with use_language("fr"):
        assert describe(error) == str(error)


def test_a_fault_of_the_page_itself_is_not_shown_as_it_came():
    assert describe(KeyError("x")).startswith("The page failed") and is_retryable(KeyError("x"))
