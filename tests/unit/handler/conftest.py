"""An untrained stand-in for the shipped checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from api.classes import CLASSES
from handler.engines.convert import export
from handler.model.checkpoint import Checkpoint
from handler.model.images import SIZE
from handler.model.inference import Novelty
from handler.model.network import Network, Normalise
from tests.pictures import noise


@pytest.fixture(scope="session")
def squares() -> np.ndarray:
    """Four squares that differ in texture and brightness, ``uint8`` (4, 224, 224, 3)."""
    textures = [np.asarray(noise(SIZE, SIZE, grain), np.float64) for grain in (1, 8, 40, 120)]
    return np.stack([texture * share for texture, share in zip(textures, (1, 0.7, 0.9, 0.4), strict=True)]).astype("u1")


@pytest.fixture(scope="session")
def untrained(squares: np.ndarray) -> Checkpoint:
    """Random weights, calibrated so that the squares have different probabilities and novelty scores; no ranges."""
    torch.manual_seed(0)
    checkpoint = Checkpoint(Network(len(CLASSES)).state_dict())
    with torch.inference_mode():
        pixels = Normalise()(torch.from_numpy(squares).permute(0, 3, 1, 2).float())
        features, logits = checkpoint.network().features_and_logits(pixels)
    checkpoint.bias = (-logits.mean(0)).tolist()
    checkpoint.temperature = float(logits.std(0).mean())
    checkpoint.novelty = Novelty(features.mean(0), torch.eye(features.shape[1]) / features.std(0), limit=200.0)
    return checkpoint


@pytest.fixture(scope="session")
def saved(untrained: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in as a file."""
    path = tmp_path_factory.mktemp("checkpoint") / "model_mlbio.pth"
    untrained.save(path)
    return path


@pytest.fixture(scope="session")
def exported(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the stand-in's graphs."""
    folder = tmp_path_factory.mktemp("graphs")
    export(saved, folder)
    return folder
