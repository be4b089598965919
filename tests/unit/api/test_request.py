"""Requests: what is accepted, and what is refused and how."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.answer import refuse
from api.request import (
    PRECISIONS,
    ContractError,
    Request,
    normalise_precision,
    parse_form,
    parse_json,
    parse_object,
)
from tests.hostile_requests import LEAKS
from tests.unit.api.examples import examples

FILE = bytes(range(256)) * 3 + b"\xfb\xff\xbf"  # its base64 holds + and /
TEXT = base64.b64encode(FILE).decode()
assert "+" in TEXT and "/" in TEXT


def body(**fields: object) -> bytes:
    return json.dumps({"image": TEXT} | fields).encode()


def parse(request: object) -> Request:
    return parse_json(request) if isinstance(request, (bytes, str)) else parse_object(request)


def check_refusal(error: ContractError) -> str:
    """The message, which is one line for a person, fits the documented failure, and repeats no word of a library."""
    message = str(error)
    assert error.status == 400 and 10 < len(message) < 300 and "\n" not in message
    assert json.loads(refuse(400, message).body)["success"] is False
    return message


def refusal(request: object) -> str:
    """The message of a request that must be refused."""
    with pytest.raises(ContractError) as caught:
        parse(request)
    message = check_refusal(caught.value)
    assert not LEAKS.search(message)
    return message


# What is accepted


def test_only_the_image_is_required():
    assert parse(body()) == Request(image=FILE, explain=False, precision="Moyenne", details=False)


@pytest.mark.parametrize(
    "convert",
    [bytes, bytes.decode, json.loads, lambda b: b"\xef\xbb\xbf" + b, lambda b: b.decode().encode("utf-16")],
    ids=["bytes", "text", "parsed", "byte order mark", "UTF-16"],
)
def test_the_body_comes_in_any_form_of_json(convert: Callable):
    request = body(explain=True, precision="Importante", details=True)
    assert parse(convert(request)) == Request(image=FILE, explain=True, precision="Importante", details=True)


@pytest.mark.parametrize(
    "word, expected",
    [("LOW", "Faible"), ("fai\u0301ble", "Faible"), ("  Médium\n", "Moyenne"), ("ｈｉｇｈ", "Importante")],
)
def test_a_precision_in_any_case_with_or_without_accents(word: str, expected: str):
    assert normalise_precision(word) == parse(body(precision=word)).precision == expected


def lines(text: str, end: str) -> str:
    return end.join(text[i : i + 76] for i in range(0, len(text), 76)) + end


@pytest.mark.parametrize(
    "text, expected",
    [
        (TEXT, FILE),
        (lines(TEXT, "\r\n"), FILE),
        ("data:image/jpeg;base64," + TEXT, FILE),
        ("\n DATA:image/png;charset=utf-8;base64," + lines(TEXT, "\n"), FILE),
        (base64.urlsafe_b64encode(FILE).decode(), FILE),
        (base64.b64encode(FILE[:-1]).decode().rstrip("="), FILE[:-1]),
        (base64.b64encode(FILE[:-2]).decode().rstrip("="), FILE[:-2]),
    ],
    ids=["plain", "lines", "data:", "DATA: lines", "URL-safe", "one = missing", "two = missing"],
)
def test_base64_as_tools_write_it(text: str, expected: bytes):
    assert parse({"image": text}).image == expected


# What is refused


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({}, 'the field "image" is missing'),
        ({"image": None}, '"image" is null: it must be text'),
        ({"image": 12}, '"image" is a number: it must be text'),
        ({"image": True}, '"image" is true or false: it must be text'),
        ({"image": [1, 2]}, '"image" is a list: it must be text'),
        ({"image": {"data": "AAAA"}}, '"image" is an object: it must be text'),
        ({"image": " \r\n\t"}, '"image" is empty'),
        ({"image": "data:image/jpeg;base64,"}, '"image" is empty'),
        ({"image": TEXT, "explain": "true"}, '"explain" is text: it must be true or false'),
        ({"image": TEXT, "details": []}, '"details" is a list: it must be true or false'),
        (
            {"image": TEXT, "precision": "Moyen"},
            '"precision" is "Moyen": it must be one of Faible, Moyenne, Importante',
        ),
        ({"image": TEXT, "precision": 2}, '"precision" is a number: it must be one of'),
        ({"image": TEXT, "precision": 'a\n\x1b[31m"b'}, r'"precision" is "a\n\u001b[31m\"b": it must be one of'),
        (
            {"image": TEXT, "Explain": True},
            'unknown field "Explain": the fields are image, explain, precision, details',
        ),
    ],
)
def test_a_wrong_field_is_named_with_its_type(fields: dict, expected: str):
    assert refusal(fields).startswith(expected)
    assert refusal(json.dumps(fields).encode()).startswith(expected)


@pytest.mark.parametrize("text", ["photo.jpg", "é" * 8, "A", "AAAAA", "AA==AA==", "====", "data:AAAA", "\ud800AAA"])
def test_what_is_not_base64_is_refused(text: str):
    assert refusal({"image": text}).startswith('"image" is not base64: encode the bytes of the file')


@pytest.mark.parametrize(
    "request_body, expected",
    [
        (b"", "the body is not JSON"),
        (b'{"image": "AAAA"} {}', "the body is not JSON"),
        (b"image=AAAA&explain=true", "the body is not JSON"),
        (b"\xff\xd8\xff\xe0 a JPEG itself", "the body is not JSON"),
        ('{"image": "é"}'.encode("latin-1"), "the body is not JSON (it is not UTF-8 text)"),
        (b"NaN", "the body is not JSON"),
        (b"null", "the body must be a JSON object"),
        (b"[]", "the body must be a JSON object"),
        (None, "the body must be a JSON object"),
        ([{"image": "AAAA"}], "the body must be a JSON object"),
    ],
)
def test_what_is_no_json_object_is_refused(request_body: object, expected: str):
    assert refusal(request_body).startswith(expected)


@pytest.mark.parametrize("opening", [b"[", b'{"image":', b'{"image":"AAAA","explain":['])
@pytest.mark.parametrize("depth", [800, 100_000])
def test_a_deep_value_is_refused_whether_or_not_python_can_parse_it(opening: bytes, depth: int):
    refusal(opening * depth)


def test_a_wrong_type_is_refused_without_reading_the_rest():
    """Sixteen megabytes of empty lists cost 400 MB and two seconds once."""
    request = b'{"image": [' + b"[]," * (16 * 2**20 // 3) + b"[]]}"
    started = time.process_time()
    assert refusal(request).startswith('"image" is a list')
    assert time.process_time() - started < 0.01


LARGE = "x" * 10_000_000


@pytest.mark.parametrize(
    "fields, name",
    [
        ({"image": {LARGE: 1}}, '"image"'),
        ({"image": TEXT, "precision": "\ufdfa" * 5_000_000}, '"precision"'),  # 18 letters each, once normalised
        ({"image": TEXT, LARGE: 1}, "unknown field"),
        ({"image": "*" * 10_000_000}, '"image"'),
        ({"image": " " * 20_000_000}, '"image"'),
    ],
)
def test_a_large_wrong_value_makes_a_short_message_at_once(fields: dict, name: str):
    started = time.process_time()
    message = refusal(fields)
    assert time.process_time() - started < 1
    assert message.startswith(name)


@pytest.mark.parametrize("fields", [{"precision": "\ud800"}, {"\udfff": 1}, {"explain": ["\ud83d"]}])
def test_half_a_surrogate_pair_in_a_value_can_be_answered(fields: dict):
    request = body(**fields)
    assert rb"\ud" in request  # JSON can write what UTF-8 cannot
    for refused in (request, json.loads(request)):
        assert refuse(400, refusal(refused)).body.decode("utf-8")


@pytest.mark.parametrize("prefix, end", [("", ""), ("data:image/jpeg;base64,", ""), ("", "\r\n")])
def test_twenty_megabytes_are_parsed_within_a_second(prefix: str, end: str):
    data = FILE * (15_000_000 // len(FILE))
    text = base64.b64encode(data).decode()
    request = json.dumps({"image": prefix + (lines(text, end) if end else text)}).encode()
    started = time.process_time()
    assert parse(request).image == data
    assert time.process_time() - started < 1


# Forms: the photograph as bytes, the other fields as texts


@pytest.mark.parametrize("kind", [str, str.encode], ids=["text", "bytes"])
@pytest.mark.parametrize("word, value", [("true", True), ("TRUE", True), ("1", True), ("False", False), ("0", False)])
def test_a_form_writes_true_and_false_as_words(word: str, value: bool, kind: Callable):
    request = parse_form(FILE, {"explain": kind(word), "details": kind(word), "precision": kind("HIGH")})
    assert request == Request(image=FILE, explain=value, details=value, precision="Importante")


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({"explain": "yes"}, '"explain" is text: it must be true or false'),
        ({"explain": b"\xff"}, '"explain" is text: it must be true or false'),
        ({"precision": "1"}, '"precision" is "1": it must be one of'),
        ({"colour": "red"}, 'unknown field "colour"'),
    ],
)
def test_a_wrong_field_of_a_form_is_named(fields: dict, expected: str):
    with pytest.raises(ContractError) as caught:
        parse_form(FILE, fields)
    assert str(caught.value).startswith(expected)


# Any input, searched by hypothesis

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(st.text(max_size=9), LEAVES, max_size=3)
FIELDS = st.sampled_from(["image", "explain", "precision", "details", "Image", "x", ""])


@examples(400)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_are_refused(content: bytes):
    try:
        assert isinstance(parse_json(content), Request)
    except ContractError as error:
        check_refusal(error)


@examples(250)
@given(st.dictionaries(FIELDS, JSON, max_size=5))
def test_any_json_is_a_request_or_is_refused(fields: dict):
    try:
        request = parse_json(json.dumps(fields))
    except ContractError as error:
        check_refusal(error)
    else:
        assert set(fields) <= {"image", "explain", "precision", "details"} and isinstance(fields["image"], str)
        assert request.explain is fields.get("explain", False) and request.details is fields.get("details", False)


@examples(200)
@given(st.dictionaries(FIELDS, st.text(max_size=40) | st.binary(max_size=40), max_size=4))
def test_any_form_is_a_request_or_is_refused(fields: dict):
    try:
        assert parse_form(b"x", fields).precision in PRECISIONS
    except ContractError as error:
        check_refusal(error)
