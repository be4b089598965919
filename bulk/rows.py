"""A photograph's row in Parquet, made of the answer that the service would give."""

from __future__ import annotations

import base64
import io
import os
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from PIL import Image

from api.classes import CLASSES
from api.contract import Answer, Failure, Prediction

CODES = {name: code for code, name in CLASSES.items()}

SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("error", pa.string()),  # why there is no diagnosis; null where there is one
        ("prediction", pa.string()),
        ("dx", pa.string()),
        ("probability", pa.float64()),
        *((f"p_{code}", pa.float64()) for code in CLASSES),
        ("plausible", pa.string()),  # the diagnoses that cannot be excluded, separated by "; "
        ("malignant_probability", pa.float64()),
        ("malignant", pa.bool_()),
        ("novelty", pa.float64()),
        ("unlike", pa.bool_()),  # unlike the training photographs: do not trust the diagnosis
        ("model", pa.string()),
    ]
)

EXPLAINED = pa.schema(
    [
        *SCHEMA,
        ("stability", pa.float64()),
        ("target", pa.float64()),
        ("reached", pa.bool_()),
        ("r2", pa.float64()),
        ("r2_with_pairs", pa.float64()),
        ("r2_with_triples", pa.float64()),
        ("samples", pa.int64()),
        ("seconds", pa.float64()),
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
    given = msgspec.json.decode(answer.body, type=Prediction)
    details = given.details
    assert not isinstance(details, msgspec.UnsetType)
    made: dict[str, Any] = {
        "file": readable(file),
        "prediction": given.prediction,
        "dx": CODES[given.prediction],
        "probability": given.probability,
        "model": details.model.version,
        **{f"p_{code}": details.probabilities.get(name, 0.0) for code, name in CLASSES.items()},
    }
    if details.plausible is not None:
        made["plausible"] = "; ".join(details.plausible)
    if details.malignant:
        made |= {"malignant_probability": details.malignant.probability, "malignant": details.malignant.flagged}
    if details.out_of_distribution:
        made |= {"novelty": details.out_of_distribution.score, "unlike": details.out_of_distribution.flagged}
    if found := details.explanation:
        made |= {
            "stability": found.stability,
            "target": found.target,
            "reached": found.reached,
            "r2": found.r2,
            "r2_with_pairs": found.r2_with_pairs,
            "r2_with_triples": found.r2_with_triples,
            "samples": found.samples,
            "seconds": found.seconds,
            "weights": list(found.regions.weights),
            "region_map": base64.b64decode(found.regions.map),
        }
    if given.explain is not None:
        buffer = io.BytesIO()
        Image.fromarray(np.asarray(given.explain, np.uint8)).save(buffer, "PNG")
        made["explained"] = buffer.getvalue()
    return made
