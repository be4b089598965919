"""Grafana's dashboard against the metrics that the gateway exports."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from api.answer import succeed
from api.headers import ANSWER_HEADER
from gateway.app import create_app
from gateway.settings import Settings
from gateway.torchserve import TorchServe
from tests.answers import EXPLAINED
from tests.conftest import ROOT

DASHBOARD = json.loads((ROOT / "deploy/grafana/mlbio.json").read_text())
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
COUNTERS = ("inference_requests_total", "inference_latency_microseconds", "queue_latency_microseconds")
"""TorchServe's own; tests/e2e/test_exposure.py asks it."""

WORDS = {"sum", "by", "rate", "histogram_quantile", "le"}


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """The labels of each series that a gateway exports when it has classified and explained."""
    theirs = 'ts_{}{{model_name="mlbio",model_version="default",hostname="machine",}} 1.5\n'
    counters = "".join(map(theirs.format, COUNTERS))

    def torchserve(request: httpx.Request) -> httpx.Response:
        content = counters if request.url.path == "/metrics" else succeed(EXPLAINED).body
        return httpx.Response(200, headers={ANSWER_HEADER: "1"}, content=content)

    with TestClient(create_app(Settings(), TorchServe(Settings(), httpx.MockTransport(torchserve)))) as client:
        for explain in (False, True):
            client.post("/predict", json={"image": base64.b64encode(b"x").decode(), "explain": explain})
        text = client.get("/metrics").text
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def names(expression: str) -> Iterator[str]:
    """Names of series in a PromQL expression."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|by \([^)]*\)', "", expression)
    yield from (word for word in re.findall(r"[a-z_]{3,}", bare) if word not in WORDS)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_series_and_label_is_exported(exported: dict[str, set[str]], expression: str):
    for part in re.split(r" and on \([^)]*\) ", expression):  # whose labels are Prometheus' own
        used = list(names(part))
        assert used and set(used) <= set(exported)
        labels = re.findall(r"(\w+)=", part) + re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", part)))
        for label in labels:
            assert all(label in exported[name] for name in used), label


def test_every_metric_of_ours_is_shown(exported: dict[str, set[str]]):
    shown = {re.sub("_(bucket|sum|count|total)$", "", name) for text in EXPRESSIONS for name in names(text)}
    ours = {name for name in exported if name.startswith("mlbio_") and not name.endswith("_created")}
    assert {re.sub("_(bucket|sum|count|total)$", "", name) for name in ours} <= shown


def test_panels_have_numbers_of_their_own_and_do_not_overlap():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    squares = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(squares)) == len(squares) and max(x for x, _ in squares) < 24
