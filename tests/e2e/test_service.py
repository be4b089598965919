"""TorchServe's own API, as `curl` users speak to it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.conftest import ROOT, encode
from tests.e2e.conftest import Service


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
        ({"data": b"[]"}, "object"),
        ({"json": {"picture": 1}}, "picture"),
        ({"data": b"{", "headers": {"content-type": "application/json"}}, "JSON"),
        ({"files": {"image": b"\xff\xd8"}, "data": {"explain": "perhaps"}}, "explain"),
        ({"files": {"photo": b"\xff\xd8"}}, "photo"),
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


def test_the_containers_health_check_accepts_the_service(service: Service, predictions: str):
    for arguments in ([f"{service.url}/readyz"], ["--predict", predictions]):
        checked = subprocess.run(
            [sys.executable, "deploy/healthcheck.py", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert checked.returncode == 0, checked.stderr
