"""What all tests share: pictures to send, and where the large data lies."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import resnet34

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


ALONE = (
    "test_archive",
    "test_batch",
    "test_containers",
    "test_faults",
    "test_model",
    "test_promote",
    "test_ray",
    "test_train",
)
"""Files of end-to-end tests that need no service, or start their own."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Under pytest-xdist, one process runs all tests that share the service; the others take whole files."""
    from xdist.scheduler import LoadScopeScheduling

    class OneService(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            shares = file.startswith("tests/e2e/") and Path(file).stem not in ALONE
            return "service" if shares else file

    return OneService(config, log)


@pytest.fixture(scope="session")
def example_images() -> list[Path]:
    """The drawn pictures that ship."""
    pictures = sorted((ROOT / "examples").glob("drawn_*.jpg"))
    assert len(pictures) >= 3
    return pictures


@pytest.fixture(scope="session")
def endless() -> str:
    """Noise in base64: no ranking of its regions settles, so an explanation uses its whole budget."""
    noise = np.random.default_rng(0).integers(-20, 21, (64, 64, 1))
    return encode(Image.fromarray((np.array((210, 170, 150)) + noise).astype(np.uint8)), "PNG")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with HAM10000, photographs and weights."""
    if not (SHARED / "ham10000").is_dir():
        pytest.skip("needs ../shared (HAM10000, photographs, weights), which is not here")
    return SHARED


def encode(image: Image.Image | bytes, kind: str = "JPEG", **options) -> str:
    """A picture as the base64 of a file."""
    if isinstance(image, Image.Image):
        file = BytesIO()
        image.save(file, kind, **options)
        image = file.getvalue()
    return base64.b64encode(image).decode()


@pytest.fixture(scope="session")
def init(tmp_path_factory) -> Path:
    """Random weights of a ResNet34 with a thousand classes, as torchvision's are."""
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("init") / "random.pth"
    torch.save({name: v.half() if v.is_floating_point() else v for name, v in resnet34().state_dict().items()}, path)
    return path
