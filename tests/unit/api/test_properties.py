"""Properties of parsing and decoding that hold for any input, searched by hypothesis; the same examples each time."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from api.answer import refuse
from api.photograph import MIN_SHORT_SIDE, ImageError, open_photograph
from api.request import PRECISIONS, ContractError, Request, normalise_precision, parse_form, parse_json
from tests.hostile_photographs import GIF, JPEG, ORIENTATION, PROFILE, PROGRESSIVE, SMALL
from tests.pictures import encoded, picture

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def examples(count: int) -> settings:
    """That many examples, the same each time, without a time limit for each."""
    return settings(
        max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(st.text(max_size=9), LEAVES, max_size=3)
FIELDS = st.sampled_from(["image", "explain", "precision", "details", "Image", "x", ""])


def refusal(error: ContractError | ImageError) -> None:
    """A message for a person, which can be answered as JSON."""
    message = str(error)
    assert 10 < len(message) < 300 and "\n" not in message
    assert json.loads(refuse(400, message).body)["error"]
    for word in ("Traceback", "Error", "msgspec", "malformed", "decoder", "File ", "0x"):
        assert word not in message.replace(json.dumps(word), "")


# Requests


@examples(400)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_are_refused(body: bytes):
    try:
        assert isinstance(parse_json(body), Request)
    except ContractError as error:
        refusal(error)


@examples(250)
@given(st.dictionaries(FIELDS, JSON, max_size=5))
def test_any_json_is_a_request_or_is_refused(fields: dict):
    try:
        request = parse_json(json.dumps(fields))
    except ContractError as error:
        refusal(error)
    else:
        assert set(fields) <= {"image", "explain", "precision", "details"} and isinstance(fields["image"], str)
        assert request.explain is fields.get("explain", False) and request.details is fields.get("details", False)


@examples(200)
@given(
    st.binary(min_size=1, max_size=300),
    st.booleans(),
    st.sampled_from([*PRECISIONS, "low", "MEDIUM", " High "]),
    st.booleans(),
    st.sampled_from(["", "data:image/jpeg;base64,", "\r\n", "data:,"]),
    st.sampled_from([base64.b64encode, base64.urlsafe_b64encode]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_a_correct_request_means_what_it_says(image, explain, precision, details, prefix, encode, encoding):
    text = prefix + encode(image).decode()
    body = json.dumps({"image": text, "explain": explain, "precision": precision, "details": details}).encode(encoding)
    request = parse_json(body)
    assert request == Request(image, explain, normalise_precision(precision), details)
    assert parse_form(image, request.form_fields()) == request


@examples(200)
@given(st.dictionaries(FIELDS, st.text(max_size=40) | st.binary(max_size=40), max_size=4))
def test_any_form_is_a_request_or_is_refused(fields: dict):
    try:
        assert parse_form(b"x", fields).precision in PRECISIONS
    except ContractError as error:
        refusal(error)


@examples(300)
@given(st.text(max_size=70))
def test_any_word_is_a_precision_or_is_refused(word: str):
    try:
        assert normalise_precision(word) in PRECISIONS
    except ContractError as error:
        refusal(error)


# Photographs

FILES = {
    "JPEG": encoded(picture(), "JPEG", exif=ORIENTATION, icc_profile=PROFILE),
    "plain JPEG": JPEG,
    "progressive JPEG": PROGRESSIVE,
    "PNG": encoded(picture(), "PNG", exif=ORIENTATION, icc_profile=PROFILE),
    "grey PNG": SMALL,
    "WebP": encoded(picture(), "WEBP", exif=ORIENTATION),
    "BMP": encoded(picture(), "BMP"),
    "TIFF": encoded(picture(), "TIFF", compression="tiff_lzw", exif=ORIENTATION),
    "plain TIFF": encoded(picture(), "TIFF"),
    "GIF": GIF,
}


def check_opening(data: bytes) -> None:
    try:
        photograph = open_photograph(data)
    except ImageError as error:
        refusal(error)
    else:
        assert photograph.mode == "RGB" and min(photograph.size) > 0


@examples(200)
@given(st.sampled_from([data[:n] for data in FILES.values() for n in (3, 12, 30)]), st.binary(max_size=300))
def test_any_bytes_behind_a_beginning_are_a_photograph_or_are_refused(beginning: bytes, rest: bytes):
    check_opening(beginning + rest)


@pytest.mark.parametrize("kind", FILES)
@examples(100)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=5), st.integers(0, 5)), min_size=1, max_size=6))
def test_any_damage_is_survived_or_refused(kind: str, damage: list[tuple[int, bytes, int]]):
    data = bytearray(FILES[kind])
    for at, inserted, deleted in damage:
        at %= len(data) + 1
        data[at : at + deleted] = inserted
    check_opening(bytes(data))


@pytest.mark.parametrize("kind", FILES)
@examples(25)
@given(st.floats(0, 0.999))
def test_any_beginning_of_a_file_is_a_photograph_or_is_refused(kind: str, share: float):
    check_opening(FILES[kind][: 1 + int(share * len(FILES[kind]))])


@examples(60)
@given(st.integers(1, 2500), st.integers(1, 2500), st.sampled_from(["PNG", "JPEG", "BMP", "GIF"]), st.integers(1, 8))
def test_any_size_and_orientation_gives_an_upright_rgb_photograph(width, height, kind, orientation):
    exif = ORIENTATION[:-8] + bytes([orientation]) + ORIENTATION[-7:]
    data = encoded(Image.new("L", (width, height), 77), kind, **({} if kind in ("BMP", "GIF") else {"exif": exif}))
    photograph = open_photograph(data)
    turned = kind in ("PNG", "JPEG") and orientation >= 5
    expected = (height, width) if turned else (width, height)
    factor = expected[0] / photograph.width
    assert abs(expected[1] / factor - photograph.height) < 1.5 and min(photograph.size) >= min(
        width, height, MIN_SHORT_SIDE // 2
    )
    assert np.abs(np.asarray(photograph).astype(int) - 77).max() <= 2
