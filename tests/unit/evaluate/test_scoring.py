"""The score card, compared with values computed by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from api.classes import CLASSES
from evaluate.dataset import OtherDisease
from evaluate.predictions import OtherDiseasePredictions, Predictions, malignant_scores
from evaluate.scoring import compare_arithmetic, disease_metrics, group_members, score_card
from tests.unit.evaluate.sets import BCC, BKL, MEL, NV, as_dict, confident, examples_of


@pytest.fixture(scope="module")
def card(small) -> dict:
    return as_dict(score_card(small, resamples=200))


def values(part: dict) -> dict:
    return {name: estimate["value"] for name, estimate in part.items() if isinstance(estimate, dict)}


def test_whole_set_by_hand(card):
    assert (card["images"], card["lesions"], card["images_without_lesion"]) == (8, 6, 0)
    assert card["model"] == {"file": "m.pth", "sha256": "0123456789ab"}
    assert card["intervals"] == {
        "level": 0.95, "method": "percentile bootstrap", "resampled": "lesions", "resamples": 200, "seed": 0,
    }  # fmt: skip
    assert card["reference"] == {"class": "mel", "accuracy": 0.5, "balanced_accuracy": 0.333333}
    metrics = values(card["metrics"])
    assert metrics["accuracy"] == 0.5  # a, a, d, d
    assert metrics["balanced_accuracy"] == pytest.approx((2 / 4 + 2 / 3 + 0) / 3, abs=1e-6)
    assert metrics["expected_calibration_error"] == pytest.approx(0.2)  # 0.7 sure, half right
    wrong = (0.95**2) + 0.7**2 + 5 * 0.05**2
    assert metrics["brier_score"] == pytest.approx((0.3**2 + 6 * 0.05**2 + wrong) / 2, abs=1e-6)
    assert metrics["log_loss"] == pytest.approx(-(np.log(0.7) + np.log(0.05)) / 2, abs=1e-6)
    assert metrics["macro_f1"] == pytest.approx((2 * 2 / (4 + 4) + 2 * 2 / (3 + 3) + 0) / 3, abs=1e-6)
    assert card["novelty"]["limit"] == 1 and card["novelty"]["flagged"]["value"] == 0.25
    for estimate in card["metrics"].values():
        assert estimate["low"] <= estimate["value"] <= estimate["high"]


def test_classes_by_hand(card):
    melanoma = card["classes"]["mel"]
    assert list(card["classes"]) == list(CLASSES)
    assert melanoma["images"] == 4
    # 16 pairs: two found win over the two nevi that are called nevi (4) and tie with the two called melanomas (2 of 4);
    # two missed tie with the same two (2 of 4) and lose to the others.
    assert values(melanoma) == {"sensitivity": 0.5, "precision": 0.5, "auroc": 0.5}
    assert values(card["classes"]["bcc"]) == {"sensitivity": 0, "precision": 0, "auroc": pytest.approx(3 / 7, abs=1e-6)}
    assert values(card["classes"]["vasc"]) == {"sensitivity": None, "precision": None, "auroc": None}
    assert card["confusion"][MEL] == [0, 1, 0, 0, 2, 1, 0]
    assert np.sum(card["confusion"]) == 8
    (bin_,) = [b for b in card["reliability"] if b["images"]]
    assert bin_ == {"from": 0.666667, "to": 0.733333, "images": 8, "confidence": 0.7, "accuracy": 0.5}
    assert len(card["reliability"]) == 15 and card["reliability"][0]["accuracy"] is None


def test_operating_points_of_melanoma(card):
    points = {p["rule"]: p for p in card["melanoma"]["operating_points"]}
    assert list(points) == [
        "most probable class", "specificity 0.80", "specificity 0.90", "specificity 0.95",
        "sensitivity 0.90", "sensitivity 0.95",
    ]  # fmt: skip
    assert values(points["most probable class"]) == {"sensitivity": 0.5, "specificity": 0.5}
    assert points["most probable class"]["threshold"] is None
    assert values(points["specificity 0.90"]) == {"sensitivity": 0, "specificity": 1}
    assert points["specificity 0.90"]["threshold"] is None  # nothing may be called a melanoma
    assert values(points["sensitivity 0.90"]) == {"sensitivity": 1, "specificity": 0}
    assert points["sensitivity 0.90"]["threshold"] == pytest.approx(0.05)


def test_malignant_classes_are_taken_together(card, small):
    np.testing.assert_allclose(malignant_scores(small.probabilities), [0.8, 0.8, 0.15, 0.8, 0.15, 0.15, 0.8, 0.8], 1e-6)
    part = card["malignant"]
    assert part["classes"] == ["akiec", "bcc", "mel"] and part["images"] == 5
    most_probable, threshold, read_off = part["operating_points"]
    # A melanoma called bcc is found, as is a bcc called melanoma.
    assert values(most_probable) == {"sensitivity": 0.8, "specificity": pytest.approx(2 / 3, abs=1e-6)}
    assert values(threshold) == values(most_probable)
    assert (threshold["rule"], threshold["threshold"]) == ("malignant threshold", 0.75)
    # To find all five, the three images with 0.15 are called malignant as well.
    assert read_off["rule"] == "sensitivity 0.93" and values(read_off) == {"sensitivity": 1, "specificity": 0}
    points = as_dict(score_card(replace(small, malignant_threshold=None), 2))["malignant"]["operating_points"]
    assert [point["rule"] for point in points] == ["most probable class", "sensitivity 0.93"]


def test_an_image_at_the_threshold_is_malignant(small):
    at = float(malignant_scores(small.probabilities)[0])
    for threshold, found in ((at, 0.8), (np.nextafter(at, 1), 0)):
        card = as_dict(score_card(replace(small, malignant_threshold=threshold), 2))
        assert card["malignant"]["operating_points"][1]["sensitivity"]["value"] == found


def test_sets_by_hand(small):
    """Each set has the most probable class alone, but for two images with a second class above the threshold."""
    without = score_card(replace(small, novelty=None), 2)
    assert without.plausible is without.novelty is None
    probabilities = small.probabilities.copy()
    probabilities[[2, 4], [MEL, BKL]] = 0.2
    card = as_dict(score_card(replace(small, probabilities=probabilities, plausible_threshold=0.1), 200))
    part = card["plausible"]
    assert (part["target"], part["threshold"]) == (0.9, 0.1)
    assert part["coverage"]["value"] == 5 / 8 and part["size"]["value"] == 10 / 8  # a, a, b, d, d
    assert values(part["classes"]["mel"]) == {"coverage": 0.75, "size": 1.25}
    assert values(part["classes"]["nv"]) == {"coverage": 0.666667, "size": 1.333333}
    assert values(part["classes"]["bcc"]) == {"coverage": 0, "size": 1}
    assert values(part["classes"]["df"]) == {"coverage": None, "size": None}
    assert {name: c["images"] for name, c in part["classes"].items() if c["images"]} == {"bcc": 1, "mel": 4, "nv": 3}
    for estimate in (part["coverage"], part["size"], part["classes"]["mel"]["size"]):
        assert estimate["low"] < estimate["value"] < estimate["high"]


def test_groups_by_hand(card, small):
    members = {
        kind: {n: m.nonzero()[0].tolist() for n, m in g.items()} for kind, g in group_members(small.examples).items()
    }
    assert members == {
        "age": {"<30": [0, 7], "30–44": [1, 2], "45–59": [3], "≥75": [4, 6], "unknown": [5]},
        "sex": {"female": [5, 6, 7], "male": [0, 1, 2, 3, 4]},
        "site": {"back": list(range(7)), "unknown": [7]},
    }
    assert list(members["age"]) == ["<30", "30–44", "45–59", "≥75", "unknown"]
    male = card["groups"]["sex"]["male"]
    assert (male["images"], male["classes"], male["few"]) == (5, 2, True)
    assert values(male) == {"accuracy": 0.6, "balanced_accuracy": 0.75}


def test_sources_and_skin_tones_are_groups_where_they_are_known(small):
    tones = ["5", "0", "3", "", "3", "3", "5", "5"]
    examples = [
        replace(e, source="milk10k" if tone else "", skin_tone=tone)
        for e, tone in zip(small.examples, tones, strict=True)
    ]
    card = as_dict(score_card(replace(small, examples=examples), 2))
    assert list(card["groups"]) == ["age", "sex", "site", "source", "skin tone"]
    assert {name: g["images"] for name, g in card["groups"]["source"].items()} == {"milk10k": 7, "unknown": 1}
    tones = {name: (g["images"], g["accuracy"]["value"]) for name, g in card["groups"]["skin tone"].items()}
    assert list(tones) == ["0 (very dark)", "3", "5 (very light)", "unknown"]
    assert tones["3"] == (3, pytest.approx(2 / 3, abs=1e-6)) and tones["0 (very dark)"] == (1, 1)


def test_whole_lesions_are_resampled_where_they_are_known():
    labels, predicted = [MEL, NV] * 120, [MEL] * 120 + [NV] * 120
    by_lesion, by_image = (
        score_card(Predictions(examples_of(labels, lesions), confident(predicted)), 500)
        for lesions in ([f"L{i // 4}" for i in range(240)], [""] * 240)
    )
    assert (by_lesion.intervals.resampled, by_image.intervals.resampled) == ("lesions", "images")
    assert (by_lesion.lesions, by_image.lesions) == (60, 0)
    assert by_lesion.metrics.accuracy != by_image.metrics.accuracy


def test_differences_are_measured():
    reference, faster = confident([MEL, NV, NV, NV], 0.7), confident([MEL, NV, NV, MEL], 0.7)
    labels = np.array([MEL, NV, NV, NV])
    same = compare_arithmetic("float32", reference, reference, labels)
    assert (same.accuracy, same.agreement, same.largest_difference, same.log_odds_rmse) == (1, 1, 0, 0)
    different = compare_arithmetic("int8", faster, reference, labels)
    assert different.agreement == 0.75 and different.accuracy == 0.75
    assert different.largest_difference == pytest.approx(0.65)
    change = np.log(0.7 / 0.3) - np.log(0.05 / 0.95)
    assert different.log_odds_rmse == pytest.approx(change * np.sqrt(2 / 28), abs=1e-3)
    assert compare_arithmetic("int8", faster, reference, np.full(4, NV)).macro_auroc is None, "there is one class"


@pytest.fixture
def other_diseases() -> OtherDiseasePredictions:
    """Four squamous cell carcinomas of two sources, and two inflammations of one of them."""
    kinds = [("inf", "a"), ("scc", "a"), ("scc", "b"), ("scc", "b"), ("inf", "a"), ("scc", "b")]
    photographs = [OtherDisease(Path(f"{i}.jpg"), dx, source) for i, (dx, source) in enumerate(kinds)]
    probabilities = confident([NV, BCC, BCC, BKL, BKL, MEL])
    probabilities[1, [BCC, BKL]] = 0.5, 0.25
    novelty = np.array([2, 0.5, 1, 1.5, 0, 1.25], np.float32)
    return OtherDiseasePredictions(photographs, probabilities, novelty, ("m.pth", "0123456789ab"), 0.75, 0.2)


def test_other_diseases_by_hand(other_diseases):
    diseases = disease_metrics(other_diseases, 200, 0)
    assert list(diseases) == ["scc", "inf"]
    carcinoma, inflammation = diseases.values()
    assert (carcinoma.images, inflammation.images) == (4, 2)
    assert carcinoma.malignant_flag.value == 0.5  # 0.6, 0.8, 0.15, 0.8
    assert carcinoma.novelty_flag.value == 0.5 and carcinoma.set_size.value == 1.25
    assert list(carcinoma.diagnoses) == list(CLASSES)
    shares = {dx: share.value for dx, share in carcinoma.diagnoses.items() if share.value}
    assert shares == {"bcc": 0.5, "bkl": 0.25, "mel": 0.25}
    for estimate in (carcinoma.malignant_flag, carcinoma.set_size, carcinoma.diagnoses["bcc"]):
        assert estimate.low < estimate.value < estimate.high
    assert {name: part.images for name, part in carcinoma.sources.items()} == {"b": 3, "a": 1}
    assert carcinoma.sources["b"].malignant_flag.value == pytest.approx(2 / 3, abs=1e-6)
    assert inflammation.sources == {} and inflammation.malignant_flag.value == 0


def test_a_flag_that_the_model_does_not_have_has_no_share(other_diseases):
    unknown = replace(other_diseases, novelty=None, malignant_threshold=None, plausible_threshold=None)
    carcinoma = disease_metrics(unknown, 2, 0)["scc"]
    assert carcinoma.malignant_flag is carcinoma.novelty_flag is carcinoma.set_size is None
    assert carcinoma.diagnoses["bcc"].value == 0.5
