"""Small sets that several tests evaluate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api.classes import CLASSES
from evaluate.predictions import Predictions
from tests.unit.evaluate.sets import BCC, MEL, NV, confident, examples_of


@pytest.fixture(scope="session")
def small() -> Predictions:
    """Eight images of six lesions: four melanomas of which two are found, three nevi of which one is taken for one."""
    labels, predicted = [MEL, MEL, MEL, MEL, NV, NV, NV, BCC], [MEL, MEL, NV, BCC, NV, NV, MEL, MEL]
    examples = examples_of(labels, ["a", "a", "b", "c", "d", "d", "e", "f"])
    ages, sexes, sites = [29.9, 30, 44, 45, 75, None, 90, 0], ["male"] * 5 + ["female"] * 3, ["back"] * 7 + [""]
    examples = [replace(e, age=a, sex=s, site=t) for e, a, s, t in zip(examples, ages, sexes, sites, strict=True)]
    novelty = np.array([0.5, 1.0, 1.01, 2.0, 0, 0, 0, 0.9])
    return Predictions(examples, confident(predicted), novelty, ("m.pth", "0123456789ab"), malignant_threshold=0.75)


@pytest.fixture
def photographs(tmp_path) -> Path:
    """Nine photographs, two of them in a subfolder, and their diagnoses."""
    folder, rng = tmp_path / "photographs", np.random.default_rng(0)
    (folder / "deep").mkdir(parents=True)
    rows = ["file,dx,lesion_id,age,sex,localization"]
    for i in range(9):
        name = f"{'deep/' * (i > 6)}{i}.png"
        Image.fromarray(rng.integers(0, 256, (36, 48, 3), dtype=np.uint8)).save(folder / name)
        rows.append(f"{name},{list(CLASSES)[i % 7]},L{i // 2},{30 + i},Male,{['back', 'unknown'][i % 2]}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder
