"""docker-compose.yml and deploy/Dockerfile, read without an engine; tests/e2e/test_containers.py runs them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from gateway.settings import Settings
from tests.conftest import ROOT

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
BUILT = ["torchserve", "gateway", "frontend"]


@pytest.mark.parametrize("override", ["", "deploy/compose.gpu.yml", "deploy/compose.keys.yml"])
def test_docker_compose_accepts_the_files(override: str, tmp_path: Path):
    program = shutil.which("docker-compose")
    if not program:
        reason = "docker-compose is not installed"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    checked = subprocess.run(
        [program, "-f", "docker-compose.yml", *(["-f", override] if override else []), "config", "-q"],
        cwd=ROOT,
        env=os.environ | {"COMPOSE_PROFILES": "monitoring", "MLBIO_API_KEYS_FILE": str(tmp_path / "keys")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert checked.returncode == 0 and checked.stderr == "", checked.stderr


def test_only_gateway_page_and_dashboard_are_published_and_only_on_loopback():
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(ports) == {"gateway", "frontend", "grafana"}
    assert all(port.startswith("127.0.0.1:") for published in ports.values() for port in published)
    assert SERVICES["torchserve"]["networks"] == ["model"] and COMPOSE["networks"]["model"]["internal"] is True


def test_grafana_finds_the_dashboard_and_prometheus_which_finds_the_gateway():
    (provider,) = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/mlbio.yml").read_text())["providers"]
    mounts = [volume.split(":") for name in ("prometheus", "grafana") for volume in SERVICES[name]["volumes"]]
    assert ["./deploy/grafana/mlbio.json", f"{provider['options']['path']}/mlbio.json", "ro"] in mounts
    assert all((ROOT / mount[0]).exists() for mount in mounts if mount[0].startswith("./"))
    sources = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())
    assert urlsplit(sources["datasources"][0]["url"]).hostname == "prometheus" in SERVICES
    (job,) = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())["scrape_configs"]
    port = SERVICES["gateway"]["environment"]["MLBIO_PORT"]
    assert job["static_configs"] == [{"targets": [f"gateway:{port}"]}]


def test_documented_settings_reach_a_service_which_knows_them():
    documented = {
        name
        for file in ("docs/torchserve.md", "docs/operations.md")
        for name in re.findall(r"`(MLBIO_[A-Z_]+)`", (ROOT / file).read_text())
    }
    keys = yaml.safe_load((ROOT / "deploy/compose.keys.yml").read_text())["services"]["gateway"]["environment"]
    given = set(keys).union(*(SERVICES[name]["environment"] for name in BUILT))
    of_compose = {"MLBIO_PAGE_PORT", "MLBIO_GRAFANA_PORT"}
    without_containers = {"MLBIO_HOLD_SECONDS", "MLBIO_PAGE_HOST"}  # `make promote`, `make app`
    assert documented - of_compose - without_containers <= given
    assert set(SERVICES["gateway"]["environment"]) <= {f"MLBIO_{name.upper()}" for name in vars(Settings())}


def test_a_container_does_not_serve_an_archive_that_was_replaced(tmp_path: Path):
    (tmp_path / "model_store").mkdir()
    (tmp_path / "model_store/mlbio.mar").write_text("another archive")
    (tmp_path / "model_store/mlbio.mar.sha256").write_text(f"{'0' * 64}  mlbio.mar\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, content in {"python": "echo /java", "torchserve": f"touch {tmp_path}/started"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{content}\n")
        (programs / name).chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    finished = subprocess.run(["sh", ROOT / "deploy/torchserve.sh"], cwd=tmp_path, env=environment, check=False)
    assert finished.returncode != 0 and not (tmp_path / "started").exists()
