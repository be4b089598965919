"""Requests: what is accepted, and what is refused and how."""

from __future__ import annotations

import base64
import json
import time

import msgspec
import pytest

from api.answer import refuse
from api.request import (
    PRECISIONS,
    ContractError,
    Options,
    PredictRequest,
    Request,
    normalise_precision,
    parse_form,
    parse_json,
    parse_object,
)

FILE = bytes(range(256)) * 3 + b"\xfb\xff\xbf"  # its base64 holds + and /
TEXT = base64.b64encode(FILE).decode()
assert "+" in TEXT and "/" in TEXT


def body(**fields: object) -> bytes:
    return json.dumps({"image": TEXT} | fields).encode()


def parse(request: object) -> Request:
    return parse_json(request) if isinstance(request, (bytes, bytearray, str)) else parse_object(request)


def refusal(request: object) -> str:
    """The message of a request that must be refused: one line, fit for a person and for the documented failure."""
    with pytest.raises(ContractError) as caught:
        parse(request)
    message = str(caught.value)
    assert caught.value.status == 400
    assert 0 < len(message) < 300 and "\n" not in message
    assert json.loads(refuse(400, message).body)["success"] is False
    return message


# What is accepted


def test_only_the_image_is_required():
    assert parse(body()) == Request(image=FILE, explain=False, precision="Moyenne", details=False)


def test_the_documented_precisions():
    assert PRECISIONS == ("Faible", "Moyenne", "Importante")


def test_all_fields():
    request = parse(body(explain=True, precision="Importante", details=True))
    assert request == Request(image=FILE, explain=True, precision="Importante", details=True)


@pytest.mark.parametrize(
    "convert",
    [
        bytes,
        bytearray,
        bytes.decode,
        json.loads,
        lambda b: b"\xef\xbb\xbf" + b,
        lambda b: b" \r\n\t" + b + b"\n",
        lambda b: b.decode().encode("utf-16"),
    ],
    ids=["bytes", "bytearray", "text", "parsed", "byte order mark", "blanks around", "UTF-16"],
)
def test_the_body_comes_in_any_form_of_json(convert):
    assert parse(convert(body(explain=True))) == Request(image=FILE, explain=True)


def test_of_a_field_given_twice_the_last_counts():
    twice = f'{{"image": "AAAA", "explain": true, "explain": false, "image": "{TEXT}"}}'
    assert parse(twice) == Request(image=FILE, explain=False)


@pytest.mark.parametrize(
    "word, expected",
    [
        ("Faible", "Faible"),
        ("LOW", "Faible"),
        ("fai\u0301ble", "Faible"),
        ("ｆａｉｂｌｅ", "Faible"),
        ("  Médium\n", "Moyenne"),
        ("MOYENNE", "Moyenne"),
        ("High", "Importante"),
        ("importanté", "Importante"),
    ],
)
def test_a_precision_in_any_case_with_or_without_accents(word, expected):
    assert normalise_precision(word) == expected
    assert parse(body(precision=word)).precision == expected


def lines(text: str, end: str) -> str:
    return end.join(text[i : i + 76] for i in range(0, len(text), 76)) + end


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        lines(TEXT, "\n"),
        lines(TEXT, "\r\n"),
        f"  {TEXT}\t",
        "data:image/jpeg;base64," + TEXT,
        "DATA:image/png;charset=utf-8;base64," + TEXT,
        "data:;base64," + lines(TEXT, "\r\n"),
        "\n data:," + TEXT,
        base64.urlsafe_b64encode(FILE).decode(),
        "data:image/webp;base64," + base64.urlsafe_b64encode(FILE).decode(),
    ],
    ids=[
        "plain",
        "\\n",
        "\\r\\n",
        "blanks",
        "data:",
        "DATA:",
        "data: lines",
        "data: bare",
        "URL-safe",
        "data: URL-safe",
    ],
)
def test_base64_as_tools_write_it(text):
    assert parse({"image": text}).image == FILE


@pytest.mark.parametrize("size", range(1, 8))
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_without_its_padding(encode, size):
    assert parse({"image": encode(FILE[-size:]).decode().rstrip("=")}).image == FILE[-size:]


# What is refused


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({}, 'the field "image" is missing'),
        ({"explain": True}, 'the field "image" is missing'),
        ({"image": None}, '"image" is null: it must be text'),
        ({"image": 12}, '"image" is a number: it must be text'),
        ({"image": True}, '"image" is true or false: it must be text'),
        ({"image": float("nan")}, '"image" is a number: it must be text'),
        ({"image": [1, 2]}, '"image" is a list: it must be text'),
        ({"image": {"data": "AAAA"}}, '"image" is an object: it must be text'),
        ({"image": ""}, '"image" is empty'),
        ({"image": " \r\n\t"}, '"image" is empty'),
        ({"image": "data:image/jpeg;base64,"}, '"image" is empty'),
        ({"image": TEXT, "explain": "true"}, '"explain" is text: it must be true or false'),
        ({"image": TEXT, "explain": 1}, '"explain" is a number: it must be true or false'),
        ({"image": TEXT, "explain": None}, '"explain" is null: it must be true or false'),
        ({"image": TEXT, "explain": float("inf")}, '"explain" is a number: it must be true or false'),
        ({"image": TEXT, "details": []}, '"details" is a list: it must be true or false'),
        (
            {"image": TEXT, "precision": "Moyen"},
            '"precision" is "Moyen": it must be one of Faible, Moyenne, Importante',
        ),
        ({"image": TEXT, "precision": "très haute"}, '"precision" is "très haute": it must be one of'),
        ({"image": TEXT, "precision": ""}, '"precision" is "": it must be one of'),
        ({"image": TEXT, "precision": None}, '"precision" is null: it must be one of'),
        ({"image": TEXT, "precision": 2}, '"precision" is a number: it must be one of'),
        ({"image": TEXT, "precision": ["low"]}, '"precision" is a list: it must be one of'),
        (
            {"image": TEXT, "Explain": True},
            'unknown field "Explain": the fields are image, explain, precision, details',
        ),
        ({"image": TEXT, "": 1}, 'unknown field "": the fields are'),
    ],
)
def test_a_wrong_field_is_named_with_its_type(fields, expected):
    assert refusal(fields).startswith(expected)
    text = json.dumps(fields)
    if "NaN" not in text and "Infinity" not in text:  # which are not JSON
        assert refusal(text.encode()).startswith(expected)


@pytest.mark.parametrize(
    "text",
    [
        "photo.jpg",
        "@photo.jpg",
        "é" * 8,
        "A",
        "AAAAA",
        "AA==AA==",
        "====",
        "=AAA",
        "AAA*",
        "data:AAAA",
        "\ud800AAA",
        "A\0AA",
    ],
)
def test_what_is_not_base64_is_refused(text):
    assert refusal({"image": text}).startswith('"image" is not base64: encode the bytes of the file')


@pytest.mark.parametrize(
    "request_body, expected",
    [
        (b"", "the body is not JSON"),
        (b"hello", "the body is not JSON"),
        (b'{"image": "AAAA"', "the body is not JSON"),
        (b"{'image': 'AAAA'}", "the body is not JSON"),
        (b'{"image": "AAAA"} {}', "the body is not JSON"),
        (b"image=AAAA&explain=true", "the body is not JSON"),
        (b"\xff\xd8\xff\xe0 a JPEG itself", "the body is not JSON"),
        ('{"image": "é"}'.encode("latin-1"), "the body is not JSON (it is not UTF-8 text)"),
        (b'{"explain": ' + b"1" * 5000 + b"}", '"explain"'),
        (b"null", "the body must be a JSON object"),
        (b"[]", "the body must be a JSON object"),
        (b'"AAAA"', "the body must be a JSON object"),
        (b"12", "the body must be a JSON object"),
        (b"NaN", "the body is not JSON"),
        (None, "the body must be a JSON object"),
        ([{"image": "AAAA"}], "the body must be a JSON object"),
    ],
)
def test_what_is_no_json_object_is_refused(request_body, expected):
    assert refusal(request_body).startswith(expected)


@pytest.mark.parametrize("opening", [b"[", b'{"image":', b'{"image":"AAAA","explain":['])
def test_a_hundred_thousand_brackets_are_refused(opening):
    refusal(opening * 100_000)


def test_a_wrong_type_is_refused_without_reading_the_rest():
    """Sixteen megabytes of empty lists cost 400 MB and two seconds once."""
    request = b'{"image": [' + b"[]," * (16 * 2**20 // 3) + b"[]]}"
    started = time.process_time()
    assert refusal(request).startswith('"image" is a list')
    assert time.process_time() - started < 0.01


@pytest.mark.parametrize("depth", [50, 200, 400, 800, 950])
def test_a_deep_value_is_refused_whether_or_not_python_can_parse_it(depth):
    refusal(b'{"image": ' + b"[" * depth + b"]" * depth + b"}")


LARGE = "x" * 10_000_000


@pytest.mark.parametrize(
    "fields, name",
    [
        ({"image": [LARGE]}, '"image"'),
        ({"image": [1] * 10_000_000}, '"image"'),
        ({"image": {LARGE: 1}}, '"image"'),
        ({"image": TEXT, "precision": LARGE}, '"precision"'),
        ({"image": TEXT, "precision": "\ufdfa" * 5_000_000}, '"precision"'),  # 18 letters each, once normalised
        ({"image": TEXT, "precision": [LARGE]}, '"precision"'),
        ({"image": TEXT, "explain": LARGE}, '"explain"'),
        ({"image": TEXT, "details": {"a": [LARGE]}}, '"details"'),
        ({"image": TEXT, LARGE: 1}, "unknown field"),
        ({"image": "*" * 10_000_000}, '"image"'),
    ],
)
def test_a_large_wrong_value_makes_a_short_message_at_once(fields, name):
    started = time.process_time()
    message = refusal(fields)
    assert time.process_time() - started < 1
    assert message.startswith(name)


@pytest.mark.parametrize("fields", [{"precision": "\ud800"}, {"\udfff": 1}, {"explain": ["\ud83d"]}])
def test_half_a_surrogate_pair_in_a_value_can_be_answered(fields):
    request = body(**fields)
    assert rb"\ud" in request  # JSON can write what UTF-8 cannot
    for refused in (request, json.loads(request)):
        answer = refuse(400, refusal(refused)).body
        assert answer.decode("utf-8") and json.loads(answer)["success"] is False


def test_control_characters_in_a_value_are_escaped():
    message = refusal({"image": TEXT, "precision": 'a\n\x1b[31m"b'})
    assert r'"a\n\u001b[31m\"b"' in message


@pytest.mark.parametrize("prefix, end", [("", ""), ("data:image/jpeg;base64,", ""), ("", "\r\n")])
def test_twenty_megabytes_are_parsed_within_a_second(prefix, end):
    data = FILE * (15_000_000 // len(FILE))
    text = base64.b64encode(data).decode()
    request = json.dumps({"image": prefix + (lines(text, end) if end else text)}).encode()
    assert len(request) > 19_900_000
    started = time.process_time()
    assert parse(request).image == data
    assert time.process_time() - started < 1


def test_twenty_megabytes_of_blanks_are_refused_within_a_second():
    started = time.process_time()
    refusal({"image": " " * 20_000_000})
    assert time.process_time() - started < 1


# Forms: the photograph as bytes, the other fields as texts


@pytest.mark.parametrize("kind", [str, str.encode], ids=["text", "bytes"])
@pytest.mark.parametrize("word, value", [("true", True), ("TRUE", True), ("1", True), ("False", False), ("0", False)])
def test_a_form_writes_true_and_false_as_words(word, value, kind):
    request = parse_form(FILE, {"explain": kind(word), "details": kind(word)})
    assert request == Request(image=FILE, explain=value, details=value)


def test_a_form_takes_the_precision_in_every_spelling():
    assert parse_form(FILE, {"precision": b"HIGH"}).precision == "Importante"
    assert parse_form(FILE, {}) == Request(image=FILE)


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({"explain": "yes"}, '"explain" is text: it must be true or false'),
        ({"explain": b"\xff"}, '"explain" is text: it must be true or false'),
        ({"precision": "1"}, '"precision" is "1": it must be one of'),
        ({"colour": "red"}, 'unknown field "colour"'),
    ],
)
def test_a_wrong_field_of_a_form_is_named(fields, expected):
    with pytest.raises(ContractError) as caught:
        parse_form(FILE, fields)
    assert str(caught.value).startswith(expected)


def test_a_form_is_what_a_request_writes():
    for request in (Request(FILE), Request(FILE, explain=True, precision="Importante", details=True)):
        assert parse_form(FILE, request.form_fields()) == request


# The types


def test_a_request_is_options_and_a_photograph():
    names = {field.name for field in msgspec.structs.fields(PredictRequest)}
    assert names == {field.name for field in msgspec.structs.fields(Options)} | {"image"}


@pytest.mark.parametrize("field", [field.name for field in msgspec.structs.fields(PredictRequest)])
def test_every_field_says_what_it_must_be(field):
    assert f'"{field}" is a list: it must be ' in refusal({"image": TEXT} | {field: []})
