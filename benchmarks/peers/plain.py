"""The classifier as a tutorial would write it: torchvision's transforms and network, float32, no calibration."""

from __future__ import annotations

import base64
import io
import os

import torch
from PIL import Image
from torchvision import transforms

from handler.model.checkpoint import Checkpoint


class Plain:
    """The network of the checkpoint that ``MLBIO_BENCHMARK_CHECKPOINT`` names."""

    def __init__(self) -> None:
        checkpoint = Checkpoint.load(os.environ["MLBIO_BENCHMARK_CHECKPOINT"])
        self.classes = checkpoint.classes
        self.network = checkpoint.network().eval()
        self.transform = transforms.Compose(
            [
                transforms.Resize(224),
                transforms.CenterCrop(224),
                transforms.ToTensor(),
                transforms.Normalize(checkpoint.preprocessing["mean"], checkpoint.preprocessing["std"]),
            ]
        )

    def read(self, image: str) -> torch.Tensor:
        """The network's input, (3, 224, 224), of a file in base64."""
        return self.transform(Image.open(io.BytesIO(base64.b64decode(image))).convert("RGB"))

    def classify(self, batch: torch.Tensor) -> torch.Tensor:
        """Probabilities (N, classes) of inputs (N, 3, 224, 224)."""
        with torch.inference_mode():
            return torch.softmax(self.network(batch), dim=1)

    def answer(self, probabilities: torch.Tensor) -> dict[str, object]:
        """The answer about one photograph."""
        label = int(probabilities.argmax())
        return {"prediction": self.classes[label], "probability": float(probabilities[label])}
