"""A photograph's row in Parquet: the service's answer, flat, with the file, the error and the pictures."""

from __future__ import annotations

import base64
import os
from typing import Any

import msgspec
import pyarrow as pa

from api.answer import Answer, Failure, Prediction
from api.flat import COLUMNS, EXPLANATION_COLUMNS, flat
from api.pictures import explanation_png

_TYPES = {str: pa.string(), float: pa.float64(), bool: pa.bool_(), int: pa.int64()}

SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("error", pa.string()),  # why there is no diagnosis; null where there is one
        *((name, _TYPES[kind]) for name, kind in COLUMNS.items()),
    ]
)

EXPLAINED = pa.schema(
    [
        *SCHEMA,
        *((name, _TYPES[kind]) for name, kind in EXPLANATION_COLUMNS.items()),
        ("weights", pa.list_(pa.float64())),  # of each region, in log-odds
        ("region_map", pa.binary()),  # PNG of 224 x 224, a grey level for each region
        ("explained", pa.binary()),  # PNG of 224 x 224 with the supporting regions outlined
    ]
)


def failed(file: str, reason: str) -> dict[str, Any]:
    """The row of a photograph without a diagnosis."""
    return {"file": readable(file), "error": reason}


def readable(file: str) -> str:
    """A file's name as Parquet takes it: bytes of it that are not UTF-8 as ``\\xef``."""
    return os.fsencode(file).decode("utf-8", "backslashreplace")


def row(file: str, answer: Answer) -> dict[str, Any]:
    """The row of a photograph with this answer to a request for details."""
    if answer.status != 200:
        return failed(file, msgspec.json.decode(answer.body, type=Failure).error)
    prediction = msgspec.json.decode(answer.body, type=Prediction)
    columns: dict[str, Any] = {"file": readable(file), **flat(prediction)}
    if prediction.details and (found := prediction.details.explanation):
        columns |= {"weights": list(found.regions.weights), "region_map": base64.b64decode(found.regions.map)}
    if prediction.explain is not None:
        columns["explained"] = explanation_png(prediction.explain)
    return columns
