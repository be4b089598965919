"""An answer as a flat row: the columns that the command line, the page and Parquet have in common."""

from __future__ import annotations

from typing import Any

from api.answer import Prediction
from api.classes import CLASSES

COLUMNS: dict[str, type] = {
    "prediction": str,
    "dx": str,
    "probability": float,
    **{f"p_{code}": float for code in CLASSES},
    "plausible": str,  # the diagnoses that cannot be excluded, separated by "; "
    "malignant_probability": float,
    "malignant": bool,
    "novelty": float,
    "unlike": bool,  # unlike the training photographs: do not trust the diagnosis
    "model": str,
}
"""Type of each column of a diagnosis, in their order."""

EXPLANATION_COLUMNS: dict[str, type] = {
    "stability": float,
    "target": float,
    "reached": bool,
    "r2": float,
    "r2_with_pairs": float,
    "samples": int,
    "seconds": float,
}
"""Of an explanation. They are fields of :class:`api.answer.ExplanationFigures` by the same names."""

_CODES = {name: code for code, name in CLASSES.items()}


def flat(answer: Prediction | None) -> dict[str, Any]:
    """The value of every column; None where the answer lacks it, or there is no answer."""
    row: dict[str, Any] = dict.fromkeys([*COLUMNS, *EXPLANATION_COLUMNS])
    if answer is None:
        return row
    row |= {"prediction": answer.prediction, "dx": _CODES.get(answer.prediction), "probability": answer.probability}
    if not (details := answer.details):
        return row
    row |= {f"p_{code}": details.probabilities.get(name, 0.0) for code, name in CLASSES.items()}
    row["model"] = details.model.version
    if details.plausible is not None:
        row["plausible"] = "; ".join(details.plausible)
    if details.malignant:
        row |= {"malignant_probability": details.malignant.probability, "malignant": details.malignant.flagged}
    if details.out_of_distribution:
        row |= {"novelty": details.out_of_distribution.score, "unlike": details.out_of_distribution.flagged}
    if details.explanation:
        row |= {name: getattr(details.explanation, name) for name in EXPLANATION_COLUMNS}
    return row
