"""Answers of the service, made up."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from api.answer import Details, ExplanationFigures, Malignant, Model, OutOfDistribution, Pair, Prediction, Regions
from api.classes import CLASSES
from api.pictures import encode_png


def answer(
    malignant: float = 0.1,
    flagged: bool = True,
    unlike: bool = False,
    figures: ExplanationFigures | None = None,
    plausible: list[str] | None = None,
    code: str = "nv",
) -> Prediction:
    """A diagnosis with this malignant probability; the threshold is 7 %."""
    return Prediction(
        prediction=CLASSES[code],
        probability=0.7,
        details=Details(
            probabilities={name: 0.7 if name == CLASSES[code] else 0.05 for name in CLASSES.values()},
            malignant=Malignant(malignant, 0.07, flagged, 0.947, 0.32),
            out_of_distribution=OutOfDistribution(2.0 if unlike else 0.5, unlike),
            model=Model("resnet34", "0123456789ab", 22),
            explanation=figures,
            plausible=plausible,
        ),
    )


def figures(**changes: Any) -> ExplanationFigures:
    """An explanation of four regions, the quarters of the square."""
    numbers = np.repeat(np.repeat(np.array([[0, 1], [2, 3]], np.uint8), 112, 0), 112, 1)
    made = ExplanationFigures(
        precision="Moyenne",
        samples=512,
        seconds=4.2,
        r2=0.6,
        r2_with_pairs=0.87,
        completeness=0.98,
        stability=0.97,
        target=0.95,
        reached=True,
        stopped="settled",
        regions=Regions(
            base64.b64encode(encode_png(Image.fromarray(numbers))).decode(),
            [0.2, -0.42, 0.8, 0.01],
            [0.05, 0.06, 0.07, 0.08],
            [Pair((0, 2), 0.5), Pair((1, 2), -0.3)],
        ),
    )
    return msgspec.structs.replace(made, **changes)
