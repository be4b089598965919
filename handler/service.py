"""TorchServe's entry point: its requests in, our answers out. The only module here that knows TorchServe.

A request is the documented JSON, the bytes of a photograph (``curl -T photo.jpg …/predictions/mlbio``), or a form with
the documented fields (``curl -F image=@photo.jpg -F explain=true``).
"""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any

from handler.contract import ContractError, Request, parse_form, parse_request
from handler.predictor import Predictor

IMAGE_FIELDS = ("body", "data", "image")
"""Where TorchServe puts a raw body, and what a multipart form may call the photograph."""


class SkinLesionHandler:
    """TorchServe calls ``initialize`` once a worker and ``handle`` once a batch."""

    def initialize(self, context: Any) -> None:
        """Load the checkpoint that travels in the archive."""
        properties = context.system_properties
        gpu = properties.get("gpu_id")
        path = Path(properties["model_dir"]) / context.manifest["model"]["serializedFile"]
        self.predictor = Predictor(path, device="cpu" if gpu is None else f"cuda:{gpu}")

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[bytes]:
        """Answer a batch; each request has its own status."""
        answers = self.predictor.answer([_read(fields) for fields in data])
        for i, answer in enumerate(answers):
            context.set_response_content_type(i, "application/json")
            context.set_response_status(answer.status, HTTPStatus(answer.status).phrase, i)
        return [answer.body for answer in answers]


def _read(fields: dict[str, Any]) -> Request | ContractError:
    try:
        name = next((name for name in IMAGE_FIELDS if name in fields), None)
        if name is None:
            return parse_form(b"", fields)  # which says what is wrong
        content = fields[name]
        if not isinstance(content, (bytes, bytearray)):
            return parse_request(content)  # TorchServe has parsed the JSON already
        if name == "body" and content.lstrip()[:1] in (b"{", b"["):
            return parse_request(content)
        return parse_form(bytes(content), {k: v for k, v in fields.items() if k not in IMAGE_FIELDS})
    except ContractError as error:
        return error
