"""A real Prometheus with our configuration asks the running service; every query of the dashboard has data."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml

from supervisor.processes import free_port
from tests.conftest import ROOT, encode
from tests.e2e.conftest import Service, wait_for

pytestmark = pytest.mark.slow

DASHBOARD = json.loads((ROOT / "deploy/grafana/mlbio.json").read_text())
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]

SCRAPE_SECONDS = 1
RATE = "10s"
"""What Grafana would put in place of ``$__rate_interval``."""


@pytest.fixture(scope="module")
def prometheus(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus on loopback that asks the service instead of the container `gateway`."""
    if not shutil.which("prometheus"):
        reason = "needs Prometheus (apt-get install prometheus)"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    folder = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())
    config["global"]["scrape_interval"] = f"{SCRAPE_SECONDS}s"
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": [service.url.removeprefix("http://")]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=log)
    try:
        wait_for(lambda: ask(f"http://{address}", "up") == [1.0], 30)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


def ask(url: str, expression: str) -> list[float]:
    """The values of an instant query; nothing while Prometheus starts."""
    try:
        answer = requests.get(f"{url}/api/v1/query", params={"query": expression}, timeout=10)
    except requests.ConnectionError:
        return []
    if answer.status_code == 503:
        return []
    found = answer.json()
    assert found["status"] == "success", f"{expression}: {found}"
    return [float(series["value"][1]) for series in found["data"]["result"]]


def test_every_query_of_the_dashboard_has_data(service: Service, prometheus: str, example_images: list[Path]):
    photograph = encode(example_images[0].read_bytes())
    until = time.monotonic() + 60
    missing = set(EXPRESSIONS)
    while missing:
        assert time.monotonic() < until, missing
        assert service.predict({"image": photograph}).ok
        assert service.predict(
            {"image": photograph, "explain": True, "precision": "Faible"}, headers={"prefer": "wait=1"}
        ).ok
        for expression in sorted(missing):
            values = ask(prometheus, expression.replace("$__rate_interval", RATE))
            if any(value == value for value in values):  # not NaN, which is no event in the interval
                missing.discard(expression)
