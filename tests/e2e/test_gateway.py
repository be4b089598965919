"""The documented contract through real HTTP: gateway, TorchServe and model as a user has them."""

from __future__ import annotations

import base64
import gzip
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests
from openapi_spec_validator import validate
from PIL import Image

from api.classes import CLASSES, MALIGNANT
from api.photograph import open_photograph
from gateway.settings import MAX_BODY
from handler.model.checkpoint import Checkpoint
from handler.model.images import network_square
from tests.conftest import ROOT, encode
from tests.e2e.conftest import Service

KEYS = ["success", "prediction", "probability", "explain"]
MODEL = ROOT / "model_store/model_mlbio.pth"


@pytest.fixture(scope="module")
def photograph(example_images: list[Path]) -> str:
    return encode(example_images[0].read_bytes())


def refused(response: requests.Response, status: int) -> str:
    """The error text of a failure, after checking that it is of the documented form."""
    assert response.status_code == status, response.text[:300]
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert list(answer) == ["success", "error"]
    assert answer["success"] is False
    assert isinstance(answer["error"], str) and 10 < len(answer["error"]) < 400
    assert "Traceback" not in answer["error"]
    return answer["error"]


def test_success_has_the_four_keys(service: Service, photograph: str):
    response = service.predict({"image": photograph})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert list(answer) == KEYS
    assert answer["success"] is True
    assert answer["prediction"] in CLASSES.values()
    assert 1 / 7 <= answer["probability"] <= 1
    assert answer["explain"] is None


def test_answer_is_the_same_twice_and_in_a_crowd(service: Service, example_images: list[Path]):
    bodies = [{"image": encode(p.read_bytes()), "details": True} for p in example_images]
    alone = [service.predict(body).json() for body in bodies]
    with ThreadPoolExecutor(16) as pool:
        crowd = list(pool.map(lambda body: service.predict(body).json(), bodies * 8))
    assert crowd == alone * 8
    assert len({answer["probability"] for answer in alone}) > 1, "different pictures, different answers"


def test_explanation_is_the_photograph_with_green_outlines(service: Service, photograph: str):
    body = {"image": photograph, "explain": True, "precision": "Faible"}
    response = service.predict(body)
    answer = response.json()
    assert list(answer) == KEYS
    overlay = np.array(answer["explain"])
    assert overlay.shape == (224, 224, 3)
    assert overlay.dtype.kind == "i" and overlay.min() >= 0 and overlay.max() <= 255
    shown = network_square(open_photograph(base64.b64decode(photograph)))
    changed = (overlay != shown).any(axis=2)
    assert 0 < changed.mean() < 0.5
    assert (overlay[changed] == (0, 255, 0)).all()
    assert len(response.content) < 1_000_000
    assert service.predict(body).content == response.content, "the same request gives the same answer"


def test_details_come_under_one_key(service: Service, photograph: str):
    answer = service.predict({"image": photograph, "details": True, "explain": True, "precision": "low"}).json()
    assert list(answer) == [*KEYS, "details"]
    probabilities = answer["details"]["probabilities"]
    assert list(probabilities) == list(CLASSES.values())
    assert sum(probabilities.values()) == pytest.approx(1, abs=0.001)
    assert answer["probability"] == max(probabilities.values()) == probabilities[answer["prediction"]]
    explanation = answer["details"]["explanation"]
    assert 128 <= explanation["samples"] <= 256
    assert explanation["reached"] == (explanation["stability"] >= explanation["target"] == 0.9)
    regions = explanation["regions"]
    numbers = np.asarray(Image.open(io.BytesIO(base64.b64decode(regions["map"]))))
    assert numbers.shape == (224, 224) and len(regions["map"]) < 20_000
    assert len(regions["weights"]) == len(regions["standard_errors"]) == len(np.unique(numbers))
    assert answer["details"]["explanation"]["precision"] == "Faible"
    malignant = answer["details"]["malignant"]
    together = sum(probabilities[CLASSES[dx]] for dx in MALIGNANT)
    assert malignant["probability"] == pytest.approx(together, abs=0.0002)
    assert malignant["flagged"] == (malignant["probability"] >= malignant["threshold"])
    assert 0 < malignant["threshold"] < 0.5
    assert 0.9 < malignant["sensitivity"] <= 1 and 0 < malignant["false_alarm_rate"] < 0.5
    unlike = answer["details"]["out_of_distribution"]
    assert unlike["score"] > 0 and unlike["flagged"] == (unlike["score"] > 1)
    plausible, threshold = answer["details"]["plausible"], Checkpoint.load(MODEL).plausible_threshold
    if threshold is None:
        assert plausible is None
    else:
        members = {answer["prediction"], *(name for name, p in probabilities.items() if p >= threshold)}
        assert plausible == sorted(members, key=lambda name: -probabilities[name])


def test_a_picture_that_is_no_skin_is_flagged(service: Service):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    answer = service.predict({"image": encode(buffer.getvalue()), "details": True}).json()
    assert answer["success"] and answer["details"]["out_of_distribution"]["flagged"] is True


def test_a_bad_request_says_what_to_change(service: Service, photograph: str):
    for fields, named in (
        ({}, "image"),
        ({"image": "aGVsbG8="}, "JPEG"),
        ({"image": photograph, "precision": "grande"}, "Faible"),
        ({"image": photograph, "explian": True}, "explian"),
        (["image"], "object"),
    ):
        assert named in refused(service.predict(fields), 400)


def test_content_type_does_not_matter(service: Service, photograph: str):
    for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded", ""):
        body = json.dumps({"image": photograph})
        response = requests.post(f"{service.url}/predict", data=body, headers={"content-type": kind}, timeout=30)
        assert response.status_code == 200, kind


def test_too_large_is_413_and_the_sender_hears_it(service: Service):
    refused(requests.post(f"{service.url}/predict", data=b" " * (MAX_BODY + 1), timeout=60), 413)
    chunks = (b" " * 2**20 for _ in range(40))  # no content-length
    refused(requests.post(f"{service.url}/predict", data=chunks, timeout=60), 413)


def test_large_photograph_passes(service: Service):
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (2400, 3000, 3), dtype=np.uint8))
    body = {"image": encode(noise, "PNG")}
    assert 20e6 < len(body["image"]) < MAX_BODY
    assert service.predict(body).status_code == 200


def test_one_broken_photograph_among_eight_fails_alone(service: Service, photograph: str):
    broken = encode(base64.b64decode(photograph)[:2000])
    bodies = [{"image": broken if i == 3 else photograph} for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(service.predict, bodies))
    assert [a.status_code for a in answers] == [200, 200, 200, 400, 200, 200, 200, 200]
    assert "cut short" in refused(answers[3], 400)


def test_classification_does_not_wait_behind_explanations(service: Service, photograph: str, endless: str):
    body = {"image": endless, "explain": True, "precision": "Importante"}
    patience = {"accept": "application/x-ndjson", "prefer": "wait=60"}
    with service.predict(body, headers=patience, stream=True) as explaining:
        assert "progress" in json.loads(next(explaining.iter_lines()))
        # The explanation takes more than twice as long.
        assert service.predict({"image": photograph}, timeout=15).status_code == 200


def test_gzip_when_accepted_and_only_then(service: Service, photograph: str):
    body, soon = {"image": photograph, "explain": True, "precision": "Faible"}, {"prefer": "wait=5"}
    plain = service.predict(body, headers=soon | {"accept-encoding": "identity"})
    assert plain.status_code == 200 and "content-encoding" not in plain.headers
    packed = service.predict(body, headers=soon | {"accept-encoding": "gzip"}, stream=True)
    assert packed.headers["content-encoding"] == "gzip"
    raw = packed.raw.read(decode_content=False)
    explained = json.loads(gzip.decompress(raw))["explain"]
    assert np.shape(explained) == np.shape(plain.json()["explain"]) and len(raw) < len(plain.content) / 2


def test_health_and_readiness(service: Service):
    alive = requests.get(f"{service.url}/healthz", timeout=10)
    assert alive.json() == {"status": "alive"} and "," not in alive.headers["x-request-id"]
    assert requests.get(f"{service.url}/readyz", timeout=30).json() == {"status": "ready"}


def test_the_software_of_the_server_is_not_named(service: Service):
    assert "server" not in requests.get(f"{service.url}/healthz", timeout=10).headers


def test_openapi_describes_what_is_answered(service: Service, photograph: str):
    document = requests.get(f"{service.url}/openapi.json", timeout=10).json()
    validate(document)
    operation = document["paths"]["/predict"]["post"]
    codes = "200 400 404 408 413 415 429 500 502 503 504"
    assert set(operation["responses"]) == set(codes.split())
    for example in operation["requestBody"]["content"]["application/json"]["examples"].values():
        assert service.predict(example["value"], headers={"prefer": "wait=5"}).status_code == 200
    answer = service.predict({"image": photograph, "details": True}).json()
    schemas = document["components"]["schemas"]
    assert set(schemas["Prediction"]["properties"]) == set(answer)
    assert set(schemas["Details"]["properties"]) == set(answer["details"])
