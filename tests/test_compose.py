"""docker-compose.yml and what it builds from: checked without an engine, by docker-compose itself and by reading."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from gateway.serve import ARCHIVE, free_port
from gateway.settings import Settings
from handler.jobs import EXPLAIN_POOL, POOL

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
NAMES = ["torchserve", "gateway", "frontend"]


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


def installed(target: str) -> set[str]:
    """The packages that a target installs by name."""
    names: set[str] = set()
    for stage in line_of(target):
        for command in stage.all("RUN"):
            for install in re.findall(r"pip install ([^;&]*)", command):
                words = re.sub(r"(--index-url|-c) \S+", "", install).split()
                names.update(w for w in words if not w.startswith("-"))
    return names


# The compose file


def test_docker_compose_accepts_the_file():
    program = shutil.which("docker-compose")
    if not program:
        reason = "docker-compose is not installed"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    checked = subprocess.run(
        [program, "-f", "docker-compose.yml", "config", "-q"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert checked.returncode == 0, checked.stderr
    assert checked.stderr == ""


def test_there_are_three_services_that_start_in_order():
    assert list(SERVICES) == NAMES
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
    assert ports == {"torchserve": [], "gateway": ["127.0.0.1:8089:8089"], "frontend": ["127.0.0.1:8501:8501"]}
    assert SERVICES["torchserve"]["networks"] == ["model"] and COMPOSE["networks"]["model"]["internal"] is True
    assert "TS_MANAGEMENT_ADDRESS" not in SERVICES["torchserve"]["environment"]


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
        assert any(source == e or source.startswith(f"{e}/") for e in sent), f"{source} is shut out by .dockerignore"


@pytest.mark.parametrize("name", NAMES)
def test_packages_are_pinned_and_cover_what_the_code_imports(name):
    pinned = {
        canonical(line.split("==")[0])
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if "==" in line and not line.lstrip().startswith("#")
    }
    wanted = {canonical(p) for p in installed(name)}
    assert wanted and wanted <= pinned
    sources = [s for stage in line_of(name) for s in copied(stage)]
    if name == "torchserve":  # its archive is made in a stage of the same packages
        sources += copied(STAGES["archive"])
    available = with_dependencies(wanted)
    owners = importlib.metadata.packages_distributions()
    for file, module in imports(sources):
        if module not in sys.stdlib_module_names and not any(s.split("/")[0] == module for s in sources):
            distributions = {canonical(d) for d in owners.get(module, [])}
            assert distributions & available, f"{file} imports {module}, which the image of {name} does not install"


def imports(sources: list[str]) -> Iterator[tuple[Path, str]]:
    """Every module that the copied Python files import, by its first name."""
    left_out = {ROOT / entry for entry in (ROOT / ".dockerignore").read_text().split() if entry.endswith(".py")}
    for source in sources:
        path = ROOT / source
        files = set(path.rglob("*.py")) if path.is_dir() else {path} if path.suffix == ".py" else set()
        for file in sorted(files - left_out):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Import):
                    yield from ((file, alias.name.split(".")[0]) for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    yield file, node.module.split(".")[0]


def with_dependencies(names: set[str]) -> set[str]:
    """``names`` and what pip installs along with them."""
    found, waiting = set(), set(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        try:
            needed = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        waiting |= {canonical(re.match(r"[\w.-]+", r)[0]) for r in needed if "extra ==" not in r} - found
    return found


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


# The health check itself


def healthcheck(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "deploy/healthcheck.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_a_running_service_is_healthy(service):
    assert healthcheck(f"{service.url}/readyz").returncode == 0
    assert healthcheck("--predict", f"{service.torchserve_url}/predictions/{POOL}").returncode == 0


def test_a_server_that_is_down_is_not():
    checked = healthcheck(f"http://127.0.0.1:{free_port()}/readyz")
    assert checked.returncode == 1 and "refused" in checked.stderr and "Traceback" not in checked.stderr


@pytest.mark.parametrize(
    ("status", "body"), [(200, b'{"success": false}'), (200, b"Healthy"), (503, b'{"success": true}')]
)
def test_an_answer_that_is_no_prediction_is_not_health(status, body):
    class Answers(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        checked = healthcheck("--predict", f"http://127.0.0.1:{server.server_port}/predictions/{POOL}")
    assert checked.returncode == 1 and "Traceback" not in checked.stderr
