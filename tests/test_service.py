"""TorchServe's own API, as `curl` users speak to it."""

from __future__ import annotations

import subprocess
import types
from pathlib import Path

import pytest
import requests

from handler.contract import CLASSES
from handler.service import SkinLesionHandler
from tests.conftest import ROOT, Service, encode


@pytest.fixture
def predictions(service: Service) -> str:
    return f"{service.torchserve_url}/predictions/mlbio"


def test_curl_t_answers_like_the_json_form(service: Service, predictions: str, example_images: list[Path]):
    finished = subprocess.run(
        ["curl", "-s", "-w", "\n%{http_code} %{content_type}", "-T", example_images[0], predictions],
        capture_output=True,
        text=True,
        timeout=60,
    )
    body, last = finished.stdout.rsplit("\n", 1)
    assert last == "200 application/json"
    json_form = service.predict({"image": encode(example_images[0].read_bytes())})
    assert body == json_form.text


def test_json_form_and_multipart_form(predictions: str, example_images: list[Path]):
    data = example_images[0].read_bytes()
    by_json = requests.post(predictions, json={"image": encode(data), "details": True}, timeout=60)
    by_form = requests.post(predictions, files={"image": data}, data={"details": "true"}, timeout=60)
    assert by_json.status_code == by_form.status_code == 200
    assert by_json.json() == by_form.json()
    assert "details" in by_json.json()


def test_a_form_asks_for_an_explanation(predictions: str, example_images: list[Path]):
    fields = {"explain": "true", "precision": "low"}
    answer = requests.post(
        predictions, files={"image": example_images[0].read_bytes()}, data=fields, timeout=120
    ).json()
    assert len(answer["explain"]) == 224


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"data": b""}, "empty"),
        ({"data": b"hello"}, "JPEG"),
        ({"data": b"{"}, "JSON"),
        ({"data": b"[]"}, "object"),
        ({"json": {"picture": 1}}, "picture"),
        ({"json": [1]}, "object"),
        ({"data": b"{", "headers": {"content-type": "application/json"}}, "JSON"),
        ({"files": {"image": b"\xff\xd8"}, "data": {"explain": "perhaps"}}, "explain"),
        ({"files": {"image": b"\xff\xd8"}, "data": {"colour": "1"}}, "colour"),
        ({"files": {"photo": b"\xff\xd8"}}, "photo"),
        ({"json": 5}, "object"),
        ({"data": "text", "headers": {"content-type": "text/plain"}}, "JSON"),
    ],
)
def test_bad_requests_get_400_in_the_documented_form(predictions: str, options: dict, named: str):
    response = requests.post(predictions, timeout=60, **options)
    assert response.status_code == 400, response.text
    assert list(response.json()) == ["success", "error"]
    assert named in response.json()["error"]


def test_management_is_closed(service: Service):
    management = service.torchserve_url.rsplit(":", 1)
    url = f"{management[0]}:{int(management[1]) + 1}/models"
    listed = {m["modelName"] for m in requests.get(url, timeout=10).json()["models"]}
    assert listed == {"mlbio", "mlbio_explain"}
    registered = requests.post(url, params={"url": "https://example.invalid/x.mar"}, timeout=10)
    assert registered.status_code >= 400
    assert requests.delete(f"{url}/mlbio", timeout=10).status_code >= 400


class Context:
    """As much of TorchServe's context as the handler uses."""

    model_name = "mlbio"

    def __init__(self, size: int) -> None:
        self.system_properties = {"model_dir": str(ROOT / "model_store"), "gpu_id": None}
        self.manifest = {"model": {"serializedFile": "model_mlbio.pth"}}
        self.statuses = [None] * size
        self.request_ids = {i: str(i) for i in range(size)}

    def get_all_request_header(self, index: int) -> dict[str, str]:
        return {"Accept": "*/*"}

    def set_response_status(self, code: int, phrase: str, index: int) -> None:
        self.statuses[index] = code

    def set_response_content_type(self, index: int, value: str) -> None:
        assert value == "application/json"


def test_a_batch_is_one_forward_pass(example_images: list[Path]):
    handler = SkinLesionHandler()
    handler.initialize(Context(0))
    sizes = []
    assess = handler.predictor.classifier.assess
    handler.predictor.classifier.assess = lambda x: sizes.append(len(x)) or assess(x)
    batch = [{"body": bytearray(p.read_bytes())} for p in [*example_images, *example_images][:7]]
    batch.insert(2, {"body": bytearray(b"not a photograph")})
    context = Context(8)
    answers = handler.handle(batch, context)
    assert sizes == [7]
    assert context.statuses == [200, 200, 400, 200, 200, 200, 200, 200]
    assert all(isinstance(a, bytes) for a in answers) and len(answers) == 8


def test_a_fault_in_one_explanation_stays_its_own(example_images: list[Path], caplog):
    handler = SkinLesionHandler()
    handler.initialize(Context(0))

    def fail(self, *arguments):
        raise RuntimeError("planted")

    handler.predictor.explainer.explain = types.MethodType(fail, handler.predictor.explainer)
    data = example_images[0].read_bytes()
    context = Context(2)
    answers = handler.handle([{"body": data, "explain": b"true"}, {"body": data}], context)
    assert context.statuses == [500, 200]
    assert b"planted" not in answers[0] and "planted" in caplog.text
    assert any(name.encode() in answers[1] for name in CLASSES.values())
