"""The contract as OpenAPI 3.0, and the page that shows it (Swagger UI, served from here: no foreign host is asked)."""

from __future__ import annotations

from typing import Any

from handler.contract import CLASSES, DEFAULT_PRECISION, PRECISIONS

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGM4saAHAAQoAfU5zC0dAAAAAElFTkSuQmCC"
"""A PNG file of one skin-coloured pixel, in base64."""

_ERRORS = {
    "400": ("The request or its photograph cannot be used; the text says what to change.",
            'the field "image" is missing: it holds the photograph in base64'),
    "404": ("The model server does not know the model, or there is no such path.",
            "the model server has no model of that name: start it with mlbio.mar"),
    "413": ("The request is too large.", "the request is over 32 MiB: send a smaller photograph"),
    "500": ("A fault of the service.",
            "the photograph could not be classified or explained: a fault of the service, see its log"),
    "502": ("The model server answered something that was not expected.",
            "the model server answered 418, which was not expected: see its log"),
    "503": ("Full, starting or restarting; `Retry-After` says when to try again.",
            "the service is full or its model is still loading: try again in a moment"),
    "504": ("No answer in time.", "no answer within 30 seconds: the service is too busy, try again later"),
}  # fmt: skip


def document() -> dict[str, Any]:
    """The OpenAPI document."""
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "MLBIO",
            "version": "1",
            "description": "A dermatoscopic photograph goes in; a diagnosis among the seven of HAM10000, its "
            "probability and a picture of why come out. It helps research and teaching and is no medical device.",
        },
        "paths": {
            "/predict": {"post": _predict()},
            "/healthz": {"get": _health("The gateway is alive.", "alive")},
            "/readyz": {"get": _health("A prediction works: one has just been made.", "ready", can_fail=True)},
        },
        "components": {"schemas": {"Request": _REQUEST, "Success": _SUCCESS, "Details": _DETAILS, "Failure": _FAILURE}},
    }


def _predict() -> dict[str, Any]:
    return {
        "tags": ["prediction"],
        "summary": "Classify a photograph, and explain the diagnosis if asked",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/Request"},
                    "examples": {
                        "classify": {"summary": "Diagnosis only", "value": {"image": PIXEL}},
                        "explain": {
                            "summary": "Diagnosis and explanation",
                            "value": {"image": PIXEL, "explain": True, "precision": "Faible"},
                        },
                        "details": {
                            "summary": "All seven probabilities",
                            "value": {"image": PIXEL, "details": True},
                        },
                    },
                }
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
                "description": "The diagnosis. Accept `application/x-ndjson` to hear of an explanation's progress.",
                "content": {
                    "application/x-ndjson": {
                        "schema": {"type": "string"},
                        "example": '{"progress": 0.25}\n{"success": true, …}\n',
                    },
                    "application/json": {
                        "schema": {"$ref": "#/components/schemas/Success"},
                        "example": {
                            "success": True,
                            "prediction": CLASSES["nv"],
                            "probability": 0.95,
                            "explain": None,
                        },
                    },
                },
            }
        }
        | {status: _failure(*texts, retry=status == "503") for status, texts in _ERRORS.items()},
    }


def _failure(description: str, example: str, retry: bool = False) -> dict[str, Any]:
    answer = {
        "description": description,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Failure"},
                "example": {"success": False, "error": example},
            }
        },
    }
    if retry:
        answer["headers"] = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
    return answer


def _health(summary: str, word: str, can_fail: bool = False) -> dict[str, Any]:
    answers = {
        "200": {"description": summary, "content": {"application/json": {"example": {"status": word}}}},
    }
    if can_fail:
        answers["503"] = _failure("No prediction works.", "no prediction can be made at present", retry=True)
    return {"tags": ["health"], "summary": summary, "responses": answers}


_REQUEST = {
    "type": "object",
    "required": ["image"],
    "additionalProperties": False,
    "properties": {
        "image": {
            "type": "string",
            "description": "The file of a photograph (JPEG, PNG, WebP, BMP, TIFF or GIF) in base64; line breaks and a "
            "`data:` prefix are allowed.",
        },
        "explain": {"type": "boolean", "default": False, "description": "Also compute a picture of why."},
        "precision": {
            "type": "string",
            "default": DEFAULT_PRECISION,
            "example": DEFAULT_PRECISION,
            "description": f"How carefully the explanation is computed: {', '.join(PRECISIONS)}; low, medium and high "
            "mean the same, in any case, with or without accents.",
        },
        "details": {"type": "boolean", "default": False, "description": "Also answer `details`."},
    },
}
_SUCCESS = {
    "type": "object",
    "required": ["success", "prediction", "probability", "explain"],
    "properties": {
        "success": {"type": "boolean", "enum": [True]},
        "prediction": {"type": "string", "enum": list(CLASSES.values())},
        "probability": {"type": "number", "minimum": 0, "maximum": 1, "description": "Of the prediction, calibrated."},
        "explain": {
            "type": "array",
            "nullable": True,
            "description": "null unless asked for: the photograph, 224 x 224 x 3 integers from 0 to 255 (rows, "
            "columns, red-green-blue), with the regions that speak for the diagnosis outlined in green.",
            "items": {
                "type": "array",
                "items": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}},
            },
        },
        "details": {"$ref": "#/components/schemas/Details"},
    },
}
_DETAILS = {
    "type": "object",
    "description": "Only when asked for.",
    "properties": {
        "probabilities": {
            "type": "object",
            "properties": {name: {"type": "number", "minimum": 0, "maximum": 1} for name in CLASSES.values()},
        },
        "malignant": {
            "type": "object",
            "nullable": True,
            "description": "Actinic keratoses, basal cell carcinoma and melanoma together.",
            "properties": {
                "probability": {"type": "number", "minimum": 0, "maximum": 1},
                "threshold": {
                    "type": "number",
                    "description": "95 % of the malignant photographs held out from training reach it.",
                },
                "flagged": {"type": "boolean", "description": "Whether the probability reaches the threshold."},
            },
        },
        "out_of_distribution": {
            "type": "object",
            "nullable": True,
            "description": "How unlike the photographs is that the model was trained on.",
            "properties": {
                "score": {"type": "number", "description": "2 % of the photographs held out exceed 1."},
                "flagged": {"type": "boolean", "description": "Score above 1: do not believe the diagnosis."},
            },
        },
        "model": {
            "type": "object",
            "properties": {
                "architecture": {"type": "string"},
                "version": {"type": "string", "description": "Start of the checkpoint's SHA-256."},
                "epoch": {"type": "integer", "nullable": True},
            },
        },
        "explanation": {
            "type": "object",
            "nullable": True,
            "properties": {
                "precision": {"type": "string", "enum": list(PRECISIONS)},
                "samples": {"type": "integer", "description": "Perturbed photographs that were classified."},
                "seconds": {"type": "number"},
                "r2": {"type": "number", "description": "R² of LIME's weighted local regression of the log-odds."},
                "stability": {
                    "type": "number",
                    "description": "Expected Jaccard index of the five strongest regions with those that another set "
                    "of perturbations would find.",
                },
                "target": {"type": "number", "description": "The stability that the precision asks for."},
                "reached": {"type": "boolean", "description": "Whether the stability reaches the target."},
                "stopped": {
                    "type": "string",
                    "enum": ["settled", "budget", "deadline"],
                    "description": "Why sampling ended; after a deadline the explanation is the best so far.",
                },
                "regions": {
                    "type": "object",
                    "properties": {
                        "map": {
                            "type": "string",
                            "description": "A grey PNG file of 224 x 224 pixels in base64: the number of each pixel's "
                            "region, for the centre square of the photograph.",
                        },
                        "weights": {
                            "type": "array",
                            "items": {"type": "number"},
                            "description": "What showing each region adds to the log-odds of the diagnosis.",
                        },
                        "standard_errors": {"type": "array", "items": {"type": "number"}},
                    },
                },
            },
        },
    },
}
_FAILURE = {
    "type": "object",
    "required": ["success", "error"],
    "properties": {"success": {"type": "boolean", "enum": [False]}, "error": {"type": "string"}},
}

DOCS_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><title>MLBIO</title>
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
<link rel="icon" href="/docs/assets/favicon-32x32.png">
</head>
<body>
<div id="swagger"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger", validatorUrl: null})</script>
</body>
</html>
"""
