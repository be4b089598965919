"""The score card as Markdown and a picture."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from evaluate import report
from evaluate.dataset import OtherDisease
from evaluate.predictions import OtherDiseasePredictions, Predictions
from evaluate.scoring import score_card
from tests.unit.evaluate.sets import BCC, MEL, NV, confident, examples_of, random_predictions


def test_markdown_has_the_values_of_the_card(small):
    card = score_card(replace(small, plausible_threshold=0.06), resamples=200)
    text = report.markdown(card)
    assert text.startswith("8 images of 6 lesions, one forward pass each by m.pth (SHA-256 0123456789ab…)")
    assert "Intervals are 95 %, by a percentile bootstrap (200 resamples) over lesions" in text
    low, high = card.metrics.accuracy.low, card.metrics.accuracy.high
    assert f"| accuracy | 0.500 | {low:.3f}–{high:.3f} | 0.500 |" in text
    assert f"–{card.metrics.macro_f1.high:.3f} | |" in text
    assert "| vasc | 0 | – | – | – |" in text
    assert "| true mel | 0 | 1 | 0 | 0 | 2 | 1 | 0 |" in text
    assert "| malignant threshold | 0.7500 | 0.800" in text
    assert "Flagged as unlike the training images: 0.250" in text
    assert "| male | 5 (few) | 2 | 0.600" in text
    assert set(re.findall(r"!\[.+\]\((.+)\)", text)) == set(report.PICTURES)
    sets = text.split("## Diagnoses that cannot be excluded")[1].split("\n## ")[0]
    assert "a probability of at least 0.0600" in sets and "the sets of 90 % of the held-out" in sets
    low, high = card.plausible.coverage.low, card.plausible.coverage.high
    assert f"| all | 8 | 0.500 ({low:.3f}–{high:.3f}) | 1.000 (1.000–1.000) |" in sets
    assert "| mel | 4 | 0.500" in sets and "| vasc | 0 | – | – |" in sets
    assert "cannot be excluded" not in report.markdown(score_card(small, 2))


def test_unknown_lesions_are_stated(small):
    def summary(lesions):
        examples = [replace(e, lesion=lesion) for e, lesion in zip(small.examples, lesions, strict=True)]
        return report.markdown(score_card(replace(small, examples=examples, model=("", "")), 2)).splitlines()[0]

    assert summary([""] * 8).startswith("8 images, one forward pass each, compared with")
    assert "over images, as their lesions are not known" in summary([""] * 8)
    assert "(3 images without a known lesion count as one lesion each)" in summary([*"abbcc", "", "", ""])


def test_unknown_patients_have_no_table(small):
    examples = examples_of(small.labels.tolist())
    assert "By age" not in report.markdown(score_card(replace(small, examples=examples), 2))
    site = [replace(e, site="head | neck\n") for e in examples]
    assert "| head \\| neck | 8 (few) |" in report.markdown(score_card(replace(small, examples=site), 2))


def test_a_card_of_other_sources_names_them_and_the_diseases_that_the_model_does_not_know(small):
    examples = [replace(e, source=("bcn", "milk10k")[i % 2], skin_tone="5") for i, e in enumerate(small.examples)]
    others = OtherDiseasePredictions(
        [OtherDisease(Path(f"{i}.jpg"), dx, "bcn" if i else "milk10k") for i, dx in enumerate(["scc", "scc", "rare"])],
        confident([BCC, NV, NV]),
        malignant_threshold=0.5,
    )
    text = report.markdown(score_card(replace(small, examples=examples), 20, others=others))
    assert text.startswith("8 images of 6 lesions from bcn and milk10k, one forward pass each by m.pth")
    assert "\n## By age, sex, body site, source and skin tone\n" in text
    assert "| 5 (very light) | 8 (few) | 3 | 0.500" in text
    part = text.split("\n## Diseases that the model does not know")[1].split("\n## ")[0]
    assert "3 photographs of diseases that are none of its classes" in part
    assert "| squamous cell carcinoma (scc) | 2 (few) | 0.500 (0.000–1.000) | – | – |" in part
    assert "| scc, milk10k | 1 (few) | 1.000 (1.000–1.000) | – | – |" in part
    assert "| rare | 1 (few) | 0.000 (0.000–0.000) | – | – |" in part
    assert "| scc, bcn | 0.000 (0.000–0.000) | 0.000" in part and "| disease | akiec | bcc |" in part


def test_the_pictures_are_small_and_the_same_each_time(tmp_path):
    predictions = random_predictions(400)
    card = score_card(predictions, 20)
    contents = []
    for _ in range(2):
        report.draw(predictions, card, tmp_path)
        contents.append([(tmp_path / name).read_bytes() for name in report.PICTURES])
    assert contents[0] == contents[1] and max(map(len, contents[0])) < 60_000
    for name in report.PICTURES:
        with Image.open(tmp_path / name) as image:
            assert min(image.size) >= 400


@pytest.mark.parametrize("labels", [[NV], [MEL, MEL], [NV, BCC, NV]])
def test_sets_that_lack_classes_have_a_card_too(tmp_path, labels):
    predictions = Predictions(examples_of(labels), confident([NV] * len(labels)))
    card = score_card(predictions, 20)
    assert not re.search(r"\bnan\b|None", report.markdown(card))
    report.draw(predictions, card, tmp_path)
