"""Errors in a person's words: what the service and the decoder say must be known to the page."""

from __future__ import annotations

import pytest

from api.client import AnswerInterrupted, RequestRefused, ServiceTimeout, UnexpectedAnswer
from api.limits import DAMAGED, MAX_PIXELS, NOT_AN_IMAGE, ImageError, check_size
from api.request import ContractError, parse_object
from frontend.errors import in_words
from frontend.language import speaker
from gateway.keys import NEEDED

ENGLISH, FRENCH = speaker("en"), speaker("fr")


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
    (RequestRefused(NEEDED, 401), "wants an API key"),
    (RequestRefused("try again", 503), "is busy"),
    (RequestRefused("out of time", 504), "too long"),
    (ServiceTimeout("no answer"), "too long"),
    (AnswerInterrupted("broke off"), "connection to the service broke"),
]


@pytest.mark.parametrize(("error", "words"), REFUSALS)
def test_known_errors_are_in_a_persons_words_in_both_languages(error, words: str):
    assert words in in_words(error, ENGLISH)
    assert str(error) not in in_words(error, ENGLISH)
    assert in_words(error, FRENCH) != in_words(error, ENGLISH)


def test_numbers_are_written_as_the_language_does():
    side = RequestRefused(message(check_size, 13_000, 2, MAX_PIXELS), 400)
    assert "may exceed 12,000." in in_words(side, ENGLISH)
    assert "dépasser 12\u202f000." in in_words(side, FRENCH)
    part = RequestRefused("the image has 9000 x 9000 pixels; at most 12.5 million can be decoded", 400)
    assert "12.5 million" in in_words(part, ENGLISH) and "12,5 millions" in in_words(part, FRENCH)


@pytest.mark.parametrize("error", [RequestRefused("a new reason", 400), UnexpectedAnswer("another program")])
def test_unknown_ones_are_shown_as_they_came(error):
    assert in_words(error, FRENCH) == str(error)
