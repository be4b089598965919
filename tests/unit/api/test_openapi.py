"""The OpenAPI document."""

from __future__ import annotations

import pytest
from openapi_spec_validator import validate

from api.classes import CLASSES
from api.openapi import document
from api.request import PRECISIONS, parse_object

DOCUMENT = document()
SCHEMAS = DOCUMENT["components"]["schemas"]


def test_it_is_valid():
    validate(DOCUMENT)


def test_a_request_needs_an_image_and_nothing_else():
    request = SCHEMAS["PredictRequest"]
    assert request["required"] == ["image"] and request["additionalProperties"] is False
    assert set(request["properties"]) == {"image", "explain", "precision", "details"}
    assert all(text in request["properties"]["precision"]["description"] for text in PRECISIONS)


def test_answers_are_the_contracts():
    keys = ["success", "prediction", "probability", "explain"]
    assert list(SCHEMAS["Prediction"]["properties"]) == [*keys, "details"]
    assert SCHEMAS["Prediction"]["properties"]["prediction"]["enum"] == list(CLASSES.values())
    assert SCHEMAS["Prediction"]["properties"]["success"]["enum"] == [True]
    assert list(SCHEMAS["Failure"]["properties"]) == ["success", "error", "code", "status", "retry_after"]
    assert SCHEMAS["Failure"]["required"] == ["error"]
    figures = SCHEMAS["ExplanationFigures"]["properties"]
    sets, none = SCHEMAS["Details"]["properties"]["plausible"]["anyOf"]
    assert sets["items"]["enum"] == list(CLASSES.values()) and none == {"type": "null"}
    assert figures["precision"]["enum"] and all(word in PRECISIONS for word in figures["precision"]["enum"])


@pytest.mark.parametrize("name", ["classify", "explain", "details"])
def test_every_example_is_a_request(name: str):
    body = DOCUMENT["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert parse_object(body["examples"][name]["value"]).image.startswith(b"\x89PNG")


def test_every_kind_of_failure_has_an_example_in_the_documented_form():
    responses = DOCUMENT["paths"]["/predict"]["post"]["responses"]
    assert set(responses) == {"200", "400", "404", "408", "413", "415", "429", "500", "502", "503", "504"}
    for status, response in responses.items():
        if status != "200":
            example = response["content"]["application/json"]["example"]
            assert list(example) == ["success", "error"] and example["success"] is False
            assert "busy" in response["headers"]["X-MLBIO-Error"]["schema"]["enum"]
    assert "Retry-After" in responses["503"]["headers"]


def test_keys_are_documented_where_they_are_needed():
    with_keys = document(api_keys=True)
    validate(with_keys)
    predict = with_keys["paths"]["/predict"]["post"]
    assert predict["security"] == [{"apiKey": []}]
    added = set(predict["responses"]) - set(DOCUMENT["paths"]["/predict"]["post"]["responses"])
    assert added == {"401"} and "Retry-After" in predict["responses"]["429"]["headers"]
    assert "securitySchemes" not in DOCUMENT["components"]
