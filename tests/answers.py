"""An answer with details and an explanation."""

from __future__ import annotations

from api.answer import Details, ExplanationFigures, Malignant, Model, OutOfDistribution, Prediction, Regions

FIGURES = ExplanationFigures("Faible", 64, 1.5, 0.8, 0.9, 1.0, 0.7, 0.6, True, "settled", Regions("", [], [], []))
DETAILS = Details(
    probabilities={"Melanoma": 0.6, "Melanocytic nevi": 0.4},
    malignant=Malignant(0.6, 0.3, True),
    out_of_distribution=OutOfDistribution(0.5, False),
    model=Model("resnet34", "abc"),
    explanation=FIGURES,
    plausible=["Melanoma", "Melanocytic nevi"],
)
EXPLAINED = Prediction(prediction="Melanoma", probability=0.6, explain=[[[1, 2, 3]]], details=DETAILS)
