"""FastAPI, as its tutorial has it: one process, requests in a pool of threads.

python -m uvicorn benchmarks.peers.with_fastapi:app
"""

from __future__ import annotations

from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.peers.plain import Plain

app = FastAPI()
plain = Plain()


class Photograph(BaseModel):
    """The body of a request."""

    image: str


@app.post("/predict")
def predict(photograph: Photograph) -> dict[str, object]:
    """One photograph, one forward pass."""
    return plain.answer(plain.classify(plain.read(photograph.image)[None])[0])
