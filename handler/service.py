"""TorchServe's entry point: its requests in, our answers out. The only module here that knows TorchServe.

A request is the documented JSON, the bytes of a photograph (``curl -T photo.jpg …/predictions/mlbio``), or a form with
the documented fields (``curl -F image=@photo.jpg -F explain=true``).
"""

from __future__ import annotations

import json
import os
from http import HTTPStatus
from pathlib import Path
from typing import Any

from ts.protocol.otf_message_handler import send_intermediate_predict_response

from handler.contract import ContractError, Request, parse_form, parse_request
from handler.jobs import CANCEL_HEADER, EXPLAIN_POOL, STREAM_TYPE, Job, cancel
from handler.predictor import Predictor

IMAGE_FIELDS = ("body", "data", "image")
"""Where TorchServe puts a raw body, and what a multipart form may call the photograph."""


NICENESS = 10


class SkinLesionHandler:
    """TorchServe calls ``initialize`` once a worker and ``handle`` once a batch."""

    def initialize(self, context: Any) -> None:
        """Load the checkpoint that travels in the archive."""
        if context.model_name == EXPLAIN_POOL:
            os.nice(NICENESS)  # both pools use all cores; who waits milliseconds goes before who waits seconds
        properties = context.system_properties
        gpu = properties.get("gpu_id")
        path = Path(properties["model_dir"]) / context.manifest["model"]["serializedFile"]
        self.predictor = Predictor(path, device="cpu" if gpu is None else f"cuda:{gpu}")

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[bytes]:
        """Answer a batch; each request has its own status.

        A request on its own that accepts NDJSON gets lines ``{"progress": 0.25}`` while it is explained, and its answer
        as the last line.
        """
        headers = [_headers(context, i) for i in range(len(data))]
        for fields in headers:
            if CANCEL_HEADER in fields:
                cancel(fields[CANCEL_HEADER])

        def report(share: float) -> None:
            if len(data) == 1:  # TorchServe streams to whole batches only
                context.set_response_content_type(0, STREAM_TYPE)
                line = json.dumps({"progress": round(share, 3)}).encode() + b"\n"
                send_intermediate_predict_response([line], context.request_ids, "Progress", 200, context)

        jobs = [Job.from_headers(fields, report) for fields in headers]
        answers = self.predictor.answer([_read(fields) for fields in data], jobs)
        for i, (answer, job) in enumerate(zip(answers, jobs, strict=True)):
            context.set_response_content_type(i, "application/json" if job.report is None else STREAM_TYPE)
            context.set_response_status(answer.status, HTTPStatus(answer.status).phrase, i)
        return [answer.body + b"\n" if job.report else answer.body for answer, job in zip(answers, jobs, strict=True)]


def _headers(context: Any, index: int) -> dict[str, str]:
    return {name.lower(): value for name, value in context.get_all_request_header(index).items()}


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
