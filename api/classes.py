"""The diagnoses, those of HAM10000. Another class needs a line here, and its names in the page's catalogues."""

from __future__ import annotations

from collections.abc import Sequence

CLASSES: dict[str, str] = {
    "akiec": "Actinic keratoses",
    "bcc": "Basal cell carcinoma",
    "bkl": "Benign keratosis-like lesions",
    "df": "Dermatofibroma",
    "mel": "Melanoma",
    "nv": "Melanocytic nevi",
    "vasc": "Vascular lesions",
}
"""``dx`` codes in the order of the network's outputs, and the names that answers use."""

MALIGNANT = ("akiec", "bcc", "mel")
"""Diagnoses that are cancer or may become cancer."""

MELANOMA = "mel"
"""The one that a score card examines by itself."""


def class_indices(codes: Sequence[str], classes: Sequence[str] = tuple(CLASSES)) -> list[int]:
    """Positions of the ``dx`` ``codes`` in ``classes``; codes that ``classes`` lacks are skipped."""
    return [list(classes).index(code) for code in codes if code in classes]
