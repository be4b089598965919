"""The seven diagnoses."""

from __future__ import annotations

from api.classes import CLASSES, MALIGNANT, class_indices


def test_malignant_classes_are_found_in_any_order():
    assert [list(CLASSES)[i] for i in class_indices(MALIGNANT)] == list(MALIGNANT)
    assert class_indices(MALIGNANT, ["mel", "nv", "bcc"]) == [2, 0]
    assert class_indices(["nv"], ["mel"]) == []
