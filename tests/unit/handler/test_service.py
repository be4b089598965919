"""TorchServe's entry point, with a stand-in for TorchServe's context."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch

from api.headers import ANSWER_HEADER, REQUEST_ID_HEADER, STREAM_TYPE
from api.logs import JsonLines
from handler.service import SkinLesionHandler
from tests.conftest import encode


class Context:
    """The part of TorchServe's context that the handler uses."""

    model_name = "mlbio"

    def __init__(self, size: int, folder: Path | None = None, gpu: int | None = None) -> None:
        self.system_properties = {"model_dir": str(folder), "gpu_id": gpu}
        self.manifest = {"model": {"serializedFile": "model_mlbio.pth"}}
        self.statuses = [None] * size
        self.headers: list[dict[str, str]] = [{} for _ in range(size)]
        self.request_ids = {i: str(i) for i in range(size)}
        self.sent = {"Accept": "*/*"}

    def get_all_request_header(self, index: int) -> dict[str, str]:
        return self.sent

    def set_response_status(self, code: int, phrase: str, index: int) -> None:
        self.statuses[index] = code

    def set_response_header(self, index: int, name: str, value: str) -> None:
        self.headers[index][name] = value

    def set_response_content_type(self, index: int, value: str) -> None:
        self.set_response_header(index, "content-type", value)


@pytest.fixture(scope="module")
def unpacked(saved: Path, exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of an archive."""
    folder = tmp_path_factory.mktemp("archive")
    for file in (saved, *exported.iterdir()):
        shutil.copy(file, folder)
    return folder


@pytest.fixture(scope="module")
def handler(unpacked: Path) -> SkinLesionHandler:
    made = SkinLesionHandler()
    made.initialize(Context(0, unpacked))
    return made


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
def test_where_torch_cannot_use_the_gpu_the_cpu_answers(
    unpacked: Path, example_images: list[Path], caplog: pytest.LogCaptureFixture
):
    made, context = SkinLesionHandler(), Context(1)
    made.initialize(Context(0, unpacked, gpu=0))
    made.handle([{"body": bytearray(example_images[0].read_bytes())}], context)
    assert context.statuses == [200]
    assert "torch cannot use cuda:0" in caplog.text


def test_a_batch_is_one_forward_pass(handler: SkinLesionHandler, example_images: list[Path], monkeypatch):
    sizes = []
    assess = handler.predictor.classifier.assess
    monkeypatch.setattr(handler.predictor.classifier, "assess", lambda x: sizes.append(len(x)) or assess(x))
    batch = [{"body": bytearray(p.read_bytes())} for p in [*example_images, *example_images][:7]]
    batch.insert(2, {"body": bytearray(b"not a photograph")})
    context = Context(8)
    answers = handler.handle(batch, context)
    assert sizes == [7]
    assert context.statuses == [200, 200, 400, 200, 200, 200, 200, 200]
    assert all(isinstance(a, bytes) for a in answers) and len(answers) == 8


def test_every_answer_is_marked_as_ours(handler: SkinLesionHandler, example_images: list[Path]):
    context = Context(2)
    handler.handle([{"body": example_images[0].read_bytes()}, {"body": b"hello"}], context)
    assert [headers[ANSWER_HEADER] for headers in context.headers] == ["1", "not_an_image"]
    assert [headers["content-type"] for headers in context.headers] == ["application/json"] * 2
    context.sent = {"accept": STREAM_TYPE}
    (line,) = handler.handle([{"body": b"hello", "explain": "true"}], context)
    assert json.loads(line)["code"] == "not_an_image"


def test_every_form_of_a_request_gets_the_same_answer(handler: SkinLesionHandler, example_images: list[Path]):
    photograph = example_images[0].read_bytes()
    document = {"image": encode(photograph), "details": True}
    requests = [
        {"image": photograph, "details": b"true"},  # curl -F
        {"data": bytearray(photograph), "details": "true"},
        {"body": json.dumps(document).encode()},  # JSON under another content type
        {"body": document},  # application/json: TorchServe parses it
    ]
    context = Context(len(requests))
    answers = handler.handle(requests, context)
    assert context.statuses == [200] * len(requests)
    assert answers == [answers[0]] * len(requests) and b"details" in answers[0]


def test_a_fault_in_one_explanation_affects_no_other_and_is_logged_with_its_id(
    handler: SkinLesionHandler, example_images: list[Path], caplog, monkeypatch
):
    def fail(*arguments):
        raise RuntimeError("planted")

    monkeypatch.setattr(handler.predictor.explainer, "explain", fail)
    data = example_images[0].read_bytes()
    context = Context(2)
    context.sent = {REQUEST_ID_HEADER: "one"}
    answers = handler.handle([{"body": data, "explain": b"true"}, {"body": data}], context)
    assert context.statuses == [500, 200] and b"planted" not in answers[0]
    (line,) = [json.loads(JsonLines().format(record)) for record in caplog.records if record.exc_info]
    assert line["id"] == "one" and "planted" in line["trace"]


def test_a_request_with_an_id_is_a_line_in_the_log(
    handler: SkinLesionHandler, example_images: list[Path], caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    context = Context(1)
    handler.handle([{"body": example_images[0].read_bytes()}], context)
    assert not caplog.records
    context.sent = {"X-Request-ID": "one"}
    handler.handle([{"body": b"no photograph"}], context)
    (line,) = [json.loads(JsonLines().format(record)) for record in caplog.records]
    assert (line["id"], line["status"], line["batch"]) == ("one", 400, 1)
