"""Where things listen and how long they may take, from the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass

MAX_BODY = 32 * 1024 * 1024
"""Largest request body in bytes; a 24 MB photograph in base64 fits. TorchServe's own limit is a little above."""


@dataclass(frozen=True)
class Settings:
    """``MLBIO_HOST``, ``MLBIO_PORT``, ``MLBIO_TORCHSERVE_URL``, ``MLBIO_PREDICT_SECONDS``, ``MLBIO_EXPLAIN_SECONDS``."""

    host: str = "127.0.0.1"
    port: int = 8089
    torchserve_url: str = "http://127.0.0.1:8080"
    predict_seconds: float = 30.0
    explain_seconds: float = 180.0

    @classmethod
    def from_environment(cls) -> Settings:
        """Read the environment; what is not there keeps its default."""
        values = {}
        for name, default in (("host", ""), ("port", 0), ("torchserve_url", ""), ("predict_seconds", 0.0),
                              ("explain_seconds", 0.0)):  # fmt: skip
            if text := os.environ.get(f"MLBIO_{name.upper()}"):
                try:
                    values[name] = type(default)(text)
                except ValueError:
                    raise SystemExit(f"MLBIO_{name.upper()}={text}: a number is needed") from None
        return cls(**values)
