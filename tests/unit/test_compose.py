"""docker-compose.yml and deploy/Dockerfile, read without an engine; tests/e2e/test_containers.py runs them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from api.archive import ARCHIVE
from api.headers import EXPLAIN_POOL, POOL
from gateway.settings import Settings
from tests.conftest import ROOT

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
NAMES = ["torchserve", "gateway", "frontend"]
MONITORING = ["prometheus", "grafana"]


@dataclass
class Stage:
    """One ``FROM`` of the Dockerfile with its instructions in order."""

    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        return [text for instruction, text in self.instructions if instruction == name]


def read_dockerfile() -> dict[str, Stage]:
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "deploy/Dockerfile").read_text(), flags=re.MULTILINE)
    stages: dict[str, Stage] = {}
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if not line.strip():
            continue
        instruction, rest = line.split(None, 1)
        if instruction == "FROM":
            base, _, name = rest.split()
            stages[name] = stage = Stage(base)
        else:
            stage.instructions.append((instruction, rest))
    return stages


STAGES = read_dockerfile()


def line_of(target: str) -> list[Stage]:
    """A target and the stages it stands on, the lowest first."""
    stage = STAGES[target]
    return [*(line_of(stage.base) if stage.base in STAGES else []), stage]


def copied(stage: Stage) -> Iterator[str]:
    """What a stage takes from the repository."""
    for arguments in stage.all("COPY"):
        if "--from=" not in arguments:
            yield from (source.rstrip("/") for source in shlex.split(arguments)[:-1])


# The compose file


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
    assert checked.returncode == 0, checked.stderr
    assert checked.stderr == ""


def test_there_are_three_services_that_start_in_order():
    assert [name for name, service in SERVICES.items() if "profiles" not in service] == NAMES
    for name, before in (("gateway", "torchserve"), ("frontend", "gateway")):
        assert SERVICES[name]["depends_on"] == {before: {"condition": "service_healthy"}}


@pytest.mark.parametrize("name", NAMES)
def test_a_service_is_built_here_watched_and_restarted(name):
    service = SERVICES[name]
    assert service["build"]["target"] == name and (ROOT / service["build"]["dockerfile"]).is_file()
    assert service["restart"] == "unless-stopped"
    check = service["healthcheck"]
    assert check["test"][:3] == ["CMD", "python", "deploy/healthcheck.py"]
    assert "deploy/healthcheck.py" in list(copied(STAGES[name]))
    assert {"interval", "timeout", "retries", "start_period"} <= set(check)


def test_only_gateway_and_page_are_published_and_only_on_loopback():
    ports = {name: SERVICES[name].get("ports", []) for name in NAMES}
    assert ports == {
        "torchserve": [],
        "gateway": ["127.0.0.1:${MLBIO_PORT-8089}:8089"],
        "frontend": ["127.0.0.1:${MLBIO_PAGE_PORT-8501}:8501"],
    }
    assert SERVICES["torchserve"]["networks"] == ["model"] and COMPOSE["networks"]["model"]["internal"] is True
    assert "TS_MANAGEMENT_ADDRESS" not in SERVICES["torchserve"]["environment"]


@pytest.mark.parametrize("name", [*NAMES, *MONITORING])
def test_a_service_is_confined(name):
    service = SERVICES[name]
    assert service["read_only"] is True and service["mem_limit"]
    assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]


def test_documented_settings_reach_a_service():
    """But for those of `make serve`, and those that compose itself gives."""
    documented = set(re.findall(r"`(MLBIO_[A-Z_]+)`", (ROOT / "docs/torchserve.md").read_text()))
    documented |= set(re.findall(r"`(MLBIO_[A-Z_]+)`", (ROOT / "docs/operations.md").read_text()))
    keys = yaml.safe_load((ROOT / "deploy/compose.keys.yml").read_text())["services"]["gateway"]["environment"]
    given = set(keys).union(*(SERVICES[name]["environment"] for name in NAMES))
    published = {"MLBIO_PAGE_PORT", "MLBIO_GRAFANA_PORT"}
    promoting = {"MLBIO_HOLD_SECONDS"}  # `make promote` is not for containers
    assert documented - published - promoting <= given


def test_prometheus_asks_the_gateway_and_grafana_prometheus():
    config = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"gateway:{SERVICES['gateway']['environment']['MLBIO_PORT']}"]}]
    (source,) = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    assert all(SERVICES[name]["networks"] == ["front"] and SERVICES[name]["profiles"] for name in MONITORING)


def test_grafana_finds_the_dashboard():
    (provider,) = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/mlbio.yml").read_text())["providers"]
    mounts = [volume.split(":") for name in MONITORING for volume in SERVICES[name]["volumes"]]
    assert ["./deploy/grafana/mlbio.json", f"{provider['options']['path']}/mlbio.json", "ro"] in mounts
    assert all((ROOT / mount[0]).exists() for mount in mounts if mount[0].startswith("./"))


def test_torchserves_health_is_a_prediction():
    assert SERVICES["torchserve"]["healthcheck"]["test"][3:] == [
        "--predict",
        f"http://127.0.0.1:8080/predictions/{POOL}",
    ]


def test_the_gateway_knows_every_variable_that_it_is_given():
    known = {f"MLBIO_{name.upper()}" for name in vars(Settings())}
    assert set(SERVICES["gateway"]["environment"]) <= known


def test_torchserve_starts_both_pools():
    script = (ROOT / "deploy/torchserve.sh").read_text()
    assert f"{POOL}={ARCHIVE} {EXPLAIN_POOL}={ARCHIVE}" in script
    assert subprocess.run(["sh", "-n", "deploy/torchserve.sh"], cwd=ROOT, check=False).returncode == 0
    assert "enable_envvars_config=true" in (ROOT / "config.properties").read_text().splitlines()


# The Dockerfile


@pytest.mark.parametrize("name", NAMES)
def test_no_service_runs_as_root(name):
    users = [text for stage in line_of(name) for text in stage.all("USER")]
    assert users and users[-1].split(":")[0] not in ("root", "0")
    assert "user" not in SERVICES[name]
    instructions = [instruction for instruction, _ in STAGES[name].instructions]
    assert not {"RUN", "COPY", "ADD"} & set(instructions[instructions.index("USER") :])


@pytest.mark.parametrize("name", STAGES)
def test_everything_that_is_copied_is_there_and_reaches_the_builder(name):
    sent = [e[1:] for e in (ROOT / ".dockerignore").read_text().split() if e.startswith("!")]
    for source in copied(STAGES[name]):
        assert (ROOT / source).exists(), f"{source} is copied by deploy/Dockerfile and is not in the repository"
        assert source == "." or any(source == e or source.startswith(f"{e}/") for e in sent), (
            f"{source} is shut out by .dockerignore"
        )


@pytest.mark.parametrize(
    ("name", "extra"), [("torchserve", "torchserve"), ("gateway", "gateway"), ("frontend", "page")]
)
def test_an_image_installs_the_project_with_its_extra(name, extra):
    commands = " ".join(command for stage in line_of(name) for command in stage.all("RUN"))
    assert f'cd /extras && sh install.sh python --constraints requirements.txt ".[{extra}]"' in commands


def test_torchserve_runs_only_the_archive_that_was_made():
    assert any("mlbio.mar.sha256" in text for text in STAGES["torchserve"].all("COPY"))
    script = (ROOT / "deploy/torchserve.sh").read_text()
    assert 0 < script.index("sha256sum --check") < script.index("torchserve --start")
    (environment,) = STAGES["torchserve"].all("ENV")
    assert 'TS_ALLOWED_URLS="file:///app/model_store/[^/]+"' in environment
