"""The diagnoses, those of HAM10000. Another class needs a line here, and its names in the page's catalogues."""

from __future__ import annotations

import unicodedata
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


SPELLINGS: dict[str, tuple[str, ...]] = {
    "akiec": ("ak", "actinic keratosis", "bowen's disease", "kératoses actiniques", "kératose actinique"),
    "bcc": ("carcinome basocellulaire", "cbc"),
    "bkl": (
        "benign keratosis",
        "seborrheic keratosis",
        "solar lentigo",
        "lichen planus-like keratosis",
        "lésions bénignes de type kératose",
        "kératose bénigne",
        "kératose séborrhéique",
    ),
    "df": ("dermatofibrome",),
    "mel": ("mélanome", "malignant melanoma"),
    "nv": ("nevus", "nevi", "naevus", "melanocytic nevus", "nævus mélanocytaires", "nævus mélanocytaire", "nævus"),
    "vasc": ("vascular lesion", "vascular", "lésions vasculaires", "lésion vasculaire"),
}
"""Other spellings of each class in tables of diagnoses, English and French."""


def class_code(text: str) -> str | None:
    """The ``dx`` code of a code, name or usual spelling of a class, in any case, with or without accents; or None."""
    return _CODES.get(_plain(text))


def _plain(text: str) -> str:
    words = " ".join(text.replace("_", " ").replace("æ", "ae").replace("’", "'").lower().split())
    return "".join(c for c in unicodedata.normalize("NFKD", words) if not unicodedata.combining(c))


_CODES = {
    _plain(spelling): code for code, name in CLASSES.items() for spelling in (code, name, *SPELLINGS.get(code, ()))
}


def class_indices(codes: Sequence[str], classes: Sequence[str] = tuple(CLASSES)) -> list[int]:
    """Positions of the ``dx`` ``codes`` in ``classes``; codes that ``classes`` lacks are skipped."""
    return [list(classes).index(code) for code in codes if code in classes]
