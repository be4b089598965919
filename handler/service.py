"""TorchServe's entry point, and the only module that depends on TorchServe.

A request is a form with a photograph and the documented options (``curl -F image=@photo.jpg -F explain=true``), a
photograph alone (``curl -T photo.jpg``), or the documented JSON.
"""

from __future__ import annotations

import json
import logging
import os
import time
from http import HTTPStatus
from pathlib import Path
from typing import Any

from ts.protocol.otf_message_handler import send_intermediate_predict_response

from api.headers import ANSWER_HEADER, CANCEL_HEADER, EXPLAIN_POOL, STREAM_TYPE
from api.logs import JsonLines
from api.request import ContractError, Request, parse_form, parse_json, parse_object
from handler.jobs import Job, cancel
from handler.predictor import Predictor
from handler.worker import EXPLAIN_NICENESS, import_explainer, log_answer, return_free_memory

IMAGE_FIELDS = ("image", "data", "body")
"""Accepted names of the photograph's form field; TorchServe names a raw body ``body`` or ``data``."""


class SkinLesionHandler:
    """TorchServe calls ``initialize`` once per worker and ``handle`` once per batch."""

    def initialize(self, context: Any) -> None:
        """Load the archive's checkpoint."""
        _log_json()
        if context.model_name == EXPLAIN_POOL:
            os.nice(EXPLAIN_NICENESS)
        properties = context.system_properties
        gpu = properties.get("gpu_id")
        folder = Path(properties["model_dir"])
        checkpoint = folder / context.manifest["model"]["serializedFile"]
        if gpu is not None and _usable(f"cuda:{gpu}"):
            self.predictor = Predictor.from_checkpoint(checkpoint, f"cuda:{gpu}")
        else:
            self.predictor = Predictor.from_graphs(folder, checkpoint)
        return_free_memory()
        if context.model_name == EXPLAIN_POOL:
            import_explainer(self.predictor)

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[bytes]:
        """Answer a batch of requests, each with its own status.

        A request that accepts NDJSON and is alone in its batch gets lines such as ``{"progress": 0.25}`` during the
        explanation. Its last line is the answer.
        """
        headers = [_headers(context, i) for i in range(len(data))]
        for fields in headers:
            if CANCEL_HEADER in fields:
                cancel(fields[CANCEL_HEADER])

        def report(share: float) -> None:
            if len(data) == 1:  # TorchServe can only stream to a whole batch
                context.set_response_content_type(0, STREAM_TYPE)
                line = json.dumps({"progress": round(share, 3)}).encode() + b"\n"
                send_intermediate_predict_response([line], context.request_ids, "Progress", 200, context)

        jobs = [Job.from_headers(fields, report) for fields in headers]
        for i in range(len(data)):
            context.set_response_header(i, ANSWER_HEADER, "1")
        started = time.monotonic()
        answers = self.predictor.answer([_parse(fields) for fields in data], jobs)
        seconds = time.monotonic() - started
        bodies = []
        for i, (answer, job) in enumerate(zip(answers, jobs, strict=True)):
            streams = job.on_progress is not None
            context.set_response_content_type(i, STREAM_TYPE if streams else "application/json")
            context.set_response_status(answer.status, HTTPStatus(answer.status).phrase, i)
            if answer.code is not None:  # headers cannot follow progress, so a stream's last line has the code, too
                context.set_response_header(i, ANSWER_HEADER, answer.code.value)
            bodies.append(answer.line() if streams else answer.body)
            log_answer(answer, job, len(data), seconds)
        return bodies


def _usable(device: str) -> bool:
    from handler.engines.cuda import usable  # imports torch, which a CPU does not need

    return usable(device)


def _headers(context: Any, index: int) -> dict[str, str]:
    return {name.lower(): value for name, value in context.get_all_request_header(index).items()}


def _parse(fields: dict[str, Any]) -> Request | ContractError:
    try:
        name = next((name for name in IMAGE_FIELDS if name in fields), None)
        if name is None:
            return parse_form(b"", fields)  # raises, naming the unknown field
        content = fields[name]
        if not isinstance(content, (bytes, bytearray)):
            return parse_object(content)  # JSON that TorchServe has parsed
        if name == "body" and content.lstrip()[:1] in (b"{", b"["):
            return parse_json(content)
        return parse_form(bytes(content), {k: v for k, v in fields.items() if k not in IMAGE_FIELDS})
    except ContractError as error:
        return error


def _log_json() -> None:
    """Log JSON, because TorchServe makes a separate record of each line and so would split tracebacks."""
    for handler in logging.getLogger().handlers:
        if type(handler) is logging.StreamHandler:  # TorchServe's; not pytest's
            handler.setFormatter(JsonLines())
