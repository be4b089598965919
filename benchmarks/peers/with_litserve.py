"""LitServe with its batching, as its documentation has it.

python -m benchmarks.peers.with_litserve PORT
"""

# No `from __future__ import annotations`: LitServe derives its API from the types.

import sys
from typing import Any

import litserve as ls
import torch

from benchmarks.peers.plain import Plain


class Api(ls.LitAPI):
    """Batches of up to eight photographs."""

    def setup(self, device: str) -> None:
        self.plain = Plain()

    def decode_request(self, request: dict[str, Any]) -> torch.Tensor:
        return self.plain.read(request["image"])

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        return self.plain.classify(x)

    def encode_response(self, output: torch.Tensor) -> dict[str, object]:
        return self.plain.answer(output)


if __name__ == "__main__":
    server = ls.LitServer(Api(max_batch_size=8, batch_timeout=0.005), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
