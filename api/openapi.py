"""The OpenAPI 3.1 document. Its schemas come from :mod:`api.request` and :mod:`api.answer`."""

from __future__ import annotations

from typing import Any

import msgspec

from api.answer import Failure, Prediction
from api.classes import CLASSES
from api.errors import ErrorCode
from api.headers import STREAM_TYPE
from api.request import Options, PredictRequest

SAMPLE = (
    "iVBORw0KGgoAAAANSUhEUgAAACAAAAAgAQMAAABJtOi3AAAAA1BMVEXIoIxyz4nAAAAADElEQVR42mNgGNwAAACgAAGO+7G0AAAAAElFTkSuQmCC"
)
"""A PNG file of 32 x 32 skin-coloured pixels, in base64."""

_ERRORS = {
    "400": ("The request or its photograph cannot be used; the text says what to change.",
            'the field "image" is missing: it must be text, the photograph in base64'),
    "404": ("The model server does not know the model, or there is no such path.",
            "the model server has no model of that name: start it with mlbio.mar"),
    "408": ("The request arrives too slowly.",
            "the request arrives too slowly: send it faster, or a smaller photograph"),
    "413": ("The request is too large.", "the request is over 32 MiB: send a smaller photograph"),
    "415": ("The body is neither JSON, a form nor the file of a photograph, or has an unknown `Content-Encoding`.",
            "the body has a Content-Encoding that is not known: use gzip, deflate or none"),
    "429": ("Over the limit of this client's address or API key; `Retry-After` says when to try again.",
            "too many requests from your address at once: try again in a moment"),
    "500": ("A fault of the service.",
            "the photograph could not be classified or explained: a fault of the service, see its log"),
    "502": ("The model server sent an unexpected answer.",
            "the model server answered 418, which was not expected: see its log"),
    "503": ("Full, starting or restarting; `Retry-After` says when to try again.",
            "the service is full or its model is still loading: try again in a moment"),
    "504": ("No answer in time.", "no answer within 30 seconds: the service is too busy, try again later"),
}  # fmt: skip


_KEY_ERRORS = {
    "401": ("An API key is needed.",
            "an API key is needed: send the header `Authorization: Bearer KEY`, or set MLBIO_API_KEY for our clients"),
}  # fmt: skip


def document(api_keys: bool = False) -> dict[str, Any]:
    """The OpenAPI document of a service that needs API keys, or of one that does not."""
    _, schemas = msgspec.json.schema_components(
        (PredictRequest, Prediction, Failure), ref_template="#/components/schemas/{name}"
    )
    content: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "MLBIO",
            "version": "1",
            "description": "A dermatoscopic photograph goes in; one of the diagnoses of HAM10000, its "
            "probability and a picture of why come out. For research and teaching only; it is not a medical device.",
        },
        "servers": [{"url": "./"}],  # relative to this document, as a proxy may add a prefix
        "paths": {
            "/predict": {"post": _predict(), "put": _predict_file()},
            "/healthz": {"get": _health("The gateway is alive.", "alive")},
            "/readyz": {"get": _health("A prediction works: one has just been made.", "ready", can_fail=True)},
        },
        "components": {"schemas": schemas},
    }
    if api_keys:
        content["components"]["securitySchemes"] = {"apiKey": {"type": "http", "scheme": "bearer"}}
        for predict in content["paths"]["/predict"].values():
            predict["security"] = [{"apiKey": []}]
            predict["responses"] |= {status: _failure(*texts) for status, texts in _KEY_ERRORS.items()}
    return content


def _form() -> dict[str, Any]:
    """The schema of a form: that of the JSON, with the file itself."""
    _, schemas = msgspec.json.schema_components((PredictRequest,))
    schema: dict[str, Any] = schemas["PredictRequest"]
    image = {"type": "string", "format": "binary", "description": "The file of a photograph."}
    return schema | {"properties": schema["properties"] | {"image": image}}


def _predict_file() -> dict[str, Any]:
    """The same for a file alone, as ``curl -T`` sends it."""
    operation = _predict()
    del (
        operation["requestBody"]["content"]["application/json"],
        operation["requestBody"]["content"]["multipart/form-data"],
    )
    options = msgspec.json.schema(Options)["$defs"]["Options"]["properties"]
    in_query = [{"name": name, "in": "query", "schema": schema} for name, schema in options.items()]
    return operation | {"summary": "The same for the file alone", "parameters": operation["parameters"] + in_query}


def _predict() -> dict[str, Any]:
    return {
        "tags": ["prediction"],
        "summary": "Classify a photograph, and explain the diagnosis if asked",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/PredictRequest"},
                    "examples": {
                        "classify": {"summary": "Diagnosis only", "value": {"image": SAMPLE}},
                        "explain": {
                            "summary": "Diagnosis and explanation",
                            "value": {"image": SAMPLE, "explain": True, "precision": "Faible"},
                        },
                        "details": {
                            "summary": "All probabilities",
                            "value": {"image": SAMPLE, "details": True},
                        },
                    },
                },
                "multipart/form-data": {"schema": _form()},
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            },
        },
        "parameters": [
            {
                "name": "Prefer",
                "in": "header",
                "schema": {"type": "string"},
                "example": "wait=10",
                "description": "Seconds after which an explanation ends with the best so far (RFC 7240).",
            },
        ],
        "responses": {
            "200": {
                "description": "The diagnosis. Accept `application/x-ndjson` to get an explanation's progress.",
                "content": {
                    STREAM_TYPE: {
                        "schema": {"type": "string"},
                        "example": '{"progress": 0.25}\n{"success": true, …}\n',
                    },
                    "application/json": {
                        "schema": {"$ref": "#/components/schemas/Prediction"},
                        "example": {
                            "success": True,
                            "prediction": next(iter(CLASSES.values())),
                            "probability": 0.95,
                            "explain": None,
                        },
                    },
                },
            }
        }
        | {status: _failure(*texts, retry=status in ("429", "503")) for status, texts in _ERRORS.items()},
    }


def _failure(description: str, example: str, retry: bool = False) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": description,
        "headers": {
            "X-MLBIO-Error": {
                "description": "The error code.",
                "schema": {"type": "string", "enum": [code.value for code in ErrorCode]},
            }
        },
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Failure"},
                "example": {"success": False, "error": example},
            }
        },
    }
    if retry:
        answer["headers"]["Retry-After"] = {"description": "Seconds to wait.", "schema": {"type": "integer"}}
    return answer


def _health(summary: str, word: str, can_fail: bool = False) -> dict[str, Any]:
    answers = {
        "200": {"description": summary, "content": {"application/json": {"example": {"status": word}}}},
    }
    if can_fail:
        answers["503"] = _failure("No prediction works.", "no prediction can be made at present", retry=True)
    return {"tags": ["health"], "summary": summary, "responses": answers}
