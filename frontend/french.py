"""The page's texts in French, by their English text."""

from __future__ import annotations

TEXTS: dict[str, str] = {
    # How figures are written; the space does not break.
    ".": ",",
    "{figure}%": "{figure}\u00a0%",
    # The names of the precisions: what is sent to the service is the same words, capital letters included.
    "Low": "Faible",
    "Medium": "Moyenne",
    "High": "Importante",
    # The seven diagnoses.
    "Actinic keratoses": "Kératoses actiniques",
    "Basal cell carcinoma": "Carcinome basocellulaire",
    "Benign keratosis-like lesions": "Lésions bénignes de type kératose",
    "Dermatofibroma": "Dermatofibrome",
    "Melanoma": "Mélanome",
    "Melanocytic nevi": "Nævus mélanocytaires",
    "Vascular lesions": "Lésions vasculaires",
    # The views: frontend/verdict.py, explanation.py, seen.py, report.py.
    # The flow of the page: every other module.
}
