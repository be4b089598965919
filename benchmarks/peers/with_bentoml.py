"""BentoML with its adaptive batching, as its documentation has it.

python -m bentoml serve benchmarks.peers.with_bentoml:Service
"""

# No `from __future__ import annotations`: BentoML derives its API from the types.

import bentoml
import torch

from benchmarks.peers.plain import Plain


@bentoml.service(workers=1, traffic={"timeout": 60})
class Service:
    """Batches of up to eight photographs."""

    def __init__(self) -> None:
        self.plain = Plain()

    @bentoml.api(batchable=True, max_batch_size=8)
    def predict(self, image: list[str]) -> list[dict]:
        """Answers about the photographs of a batch."""
        probabilities = self.plain.classify(torch.stack([self.plain.read(i) for i in image]))
        return [self.plain.answer(p) for p in probabilities]
