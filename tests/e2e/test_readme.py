"""The commands of README and docs/, run as they are written, and their facts, compared with the code."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import requests

from gateway.settings import Settings
from handler.explain.lime.explainer import BUDGETS
from supervisor.processes import free_port
from tests.conftest import ROOT
from tests.e2e.conftest import Service, bare_environment, free_addresses, free_ports_in_a_row, wait_for

DOCUMENTS = "\n".join(path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))])


def blocks(language: str) -> list[str]:
    """The code blocks in one language; one that stands in README and in docs/ counts once."""
    return list(dict.fromkeys(re.findall(rf"```{language}\n(.*?)```", DOCUMENTS, re.DOTALL)))


def block(language: str, word: str) -> str:
    """The one block that holds ``word``."""
    (found,) = [b for b in blocks(language) if word in b]
    return found


def shell(command: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=500,
    )


def test_curl(service: Service):
    finished = shell(block("sh", "application/json' -d @-").replace("http://127.0.0.1:8089", service.url))
    assert finished.returncode == 0, finished.stderr
    answer, shown = json.loads(finished.stdout), json.loads(block("json", "success"))
    assert answer.pop("probability") == pytest.approx(shown.pop("probability"), abs=0.001), "engines round differently"
    assert answer == shown


def test_curl_with_progress(service: Service):
    finished = shell(block("sh", "x-ndjson").replace("http://127.0.0.1:8089", service.url))
    assert finished.returncode == 0, finished.stderr
    *progress, answer = map(json.loads, finished.stdout.splitlines())
    assert progress and all(list(line) == ["progress"] for line in progress)
    explanation = answer["details"]["explanation"]
    named = re.search(r"`details.explanation` reports(.*?)\n\n", DOCUMENTS, re.DOTALL)[1]
    assert set(explanation) - {"precision"} <= set(re.findall(r"`([a-z_0-9]+)`", named))
    assert set(explanation["regions"]) <= set(re.findall(r"`([a-z_0-9]+)`", named))


@pytest.mark.parametrize("word", ["import requests", "api.client"])
def test_python(service: Service, word: str):
    code = block("python", word).replace("http://127.0.0.1:8089", service.url)
    finished = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip().endswith(" 224")


def test_command_line(service: Service):
    for line in block("sh", "cli/client.py").strip().splitlines():
        finished = shell(line.replace(".venv/bin/python", sys.executable), MLBIO_URL=service.url)
        assert finished.returncode == 0, finished.stderr
        for path in re.findall(r"-> (\S+)", finished.stdout):
            assert path == "examples/drawn_nevus_explained.png"
            (ROOT / path).unlink()


@pytest.mark.parametrize("script", ["cli/client.py", "train/main_train.py"])
def test_help(script: str):
    finished = subprocess.run(
        [sys.executable, str(ROOT / script), "-h"],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"COLUMNS": "400"},
    )
    usage = " ".join(finished.stdout.split("\n\n")[0].split())
    assert usage == block("text", f"usage: {Path(script).name}").strip()


def test_torchserve_by_itself(tmp_path: Path):
    """As written, but in a temporary folder and on free ports."""
    for name in ("examples", "model_store", "config.properties"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name in ("python", "torchserve"):
        (tmp_path / ".venv/bin" / name).symlink_to(Path(sys.executable).parent / name)
    port = free_ports_in_a_row(3)
    script = block("sh", "torchserve --start").replace("127.0.0.1:8080", f"127.0.0.1:{port}")
    # A person waits until the workers are there.
    answered = f"curl -sf -T examples/drawn_nevus.jpg http://127.0.0.1:{port}/predictions/mlbio >/dev/null"
    wait = f"for i in $(seq 300); do {answered} && break; sleep 0.5; done"
    script, count = re.subn(r"torchserve --start .*\n", lambda line: f"{line[0]}{wait}\n", script)
    assert count == 1
    script = script.replace("curl -", "echo; curl -sS -").replace("torchserve --stop", "echo; torchserve --stop")
    finished = shell(
        script,
        tmp_path,
        VIRTUAL_ENV=str(Path(sys.executable).parent.parent),
        **bare_environment(tmp_path, Settings(torchserve_url=f"http://127.0.0.1:{port}")),
    )
    assert finished.returncode == 0, finished.stderr
    answers = [json.loads(line) for line in finished.stdout.splitlines() if line.startswith("{")]
    assert [a["success"] for a in answers] == [True, True]
    assert answers[0]["explain"] is None and len(answers[1]["explain"]) == 224
    assert "TorchServe has stopped" in finished.stdout


@pytest.mark.skipif(not (ROOT / ".venv/test.stamp").exists(), reason="needs what `make test` sets up")
def test_make_demo(example_images: list[Path], tmp_path: Path):
    picture = tmp_path / "my friend's photo $HOME.jpg"
    shutil.copy(example_images[0], picture)
    finished = shell(
        f"make demo IMAGE={shlex.quote(str(picture))} PRECISION=Faible",
        MAKEFLAGS="",
        **free_addresses(),
    )
    assert finished.returncode == 0, finished.stderr
    assert "a prediction works" in finished.stdout
    assert f"{picture}: " in finished.stdout
    assert (tmp_path / "my friend's photo $HOME_explained.png").is_file()


@pytest.mark.skipif(not (ROOT / ".venv/test.stamp").exists(), reason="needs what `make test` sets up")
def test_make_app_in_front_of_a_service_that_runs(service: Service, tmp_path: Path):
    """Ctrl-C, which a terminal sends to make and to what it runs, stops the page; the service is not its own."""
    shown, port = tmp_path / "shown", free_port()
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >> "{shown}"\n')
    browser.chmod(0o755)
    ours = {
        "MAKEFLAGS": "",
        "MAKELEVEL": "",
        "MLBIO_PORT": service.url.rpartition(":")[2],
        "MLBIO_PAGE_PORT": str(port),
    }
    process = subprocess.Popen(
        ["make", "app"],
        cwd=ROOT,
        env=os.environ | ours | {"DISPLAY": ":0", "BROWSER": str(browser)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    address = f"http://localhost:{port}/"
    for line in process.stdout:
        if line.startswith("the page: "):
            break
    assert line == f"the page: {address} (Ctrl-C stops everything)\n"
    assert "Streamlit" in requests.get(address, timeout=10).text
    wait_for(lambda: shown.exists() and shown.read_text() == f"{address}\n", 30)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert "stopping page" in said and "torchserve" not in said and said.endswith("stopped\n")
    with pytest.raises(requests.ConnectionError):
        requests.get(address, timeout=10)
    assert requests.get(f"{service.url}/readyz", timeout=30).ok


def test_models_are_compared_as_documented(tmp_path: Path):
    for name in ("OLD", "NEW"):
        (tmp_path / name).symlink_to(ROOT / "model_store/score_card")
    (line,) = [line for line in block("sh", "--answers OLD").splitlines() if "--answers OLD" in line]
    finished = shell(line.replace(".venv/bin/python evaluate", f"{sys.executable} {ROOT}/evaluate"), tmp_path)
    assert finished.returncode == 0 and "balanced accuracy" in finished.stdout.lower(), finished.stderr


def test_every_make_command_exists():
    listed = shell("make").stdout
    named = "\n".join(blocks("sh") + re.findall(r"`([^`\n]+)`", DOCUMENTS))
    for target in set(re.findall(r"\bmake ([a-z]+)", named)):
        assert f"make {target} " in listed, target


def test_every_path_exists():
    folders = "api|handler|gateway|supervisor|train|evaluate|frontend|cli|scale"
    folders += "|examples|benchmarks|model_store|deploy|tests"
    shown = set(re.findall(rf"\b(?<![/.])(?:{folders})/[\w./]+\w", DOCUMENTS))
    # Made by `make archive` and `make promote`, given by the reader, or in the repository's history.
    made = {
        "benchmarks/calibration.py",
        "benchmarks/method.py",
        "model_store/mlbio.mar",
        "model_store/previous",
        "model_store/next.mar",
        "frontend/locale/CODE/LC_MESSAGES/mlbio.po",
    }
    assert len(shown) > 20 and not [p for p in shown - made if not (ROOT / p).exists()]


def test_facts():
    def listed(numbers: Iterable[int]) -> str:
        *others, last = (f"{number:,}" for number in numbers)
        return f"{', '.join(others)} or {last}"

    least, most = (listed(getattr(p, name) for p in BUDGETS.values()) for name in ("least", "samples"))
    assert f"at least {least} and at most {most} perturbed photographs" in DOCUMENTS
    for row in re.findall(r"^\| (`MLBIO_.*?) \|$", DOCUMENTS, re.MULTILINE):
        names, values, _ = (cell.split(", ") for cell in row.split(" | ", 2))
        for name, value in zip(names, values, strict=True):
            default = getattr(Settings(), name.strip("`").removeprefix("MLBIO_").lower())
            assert value == (default if isinstance(default, str) else f"{default:.12g}")


def test_figures_are_those_of_the_score_cards():
    texts = [(ROOT / name).read_text() for name in ("docs/model.md", "model_store/MODEL_CARD.md")]
    for folder in ("score_card", "score_card/elsewhere"):
        card = json.loads((ROOT / "model_store" / folder / "score_card.json").read_text())
        malignant = next(p for p in card["malignant"]["operating_points"] if p["rule"] == "malignant threshold")
        figures = [
            card["metrics"]["accuracy"],
            card["metrics"]["balanced_accuracy"],
            card["metrics"]["macro_auroc"],
            card["metrics"]["expected_calibration_error"],
            card["classes"]["mel"]["sensitivity"],
            malignant["sensitivity"],
            malignant["specificity"],
            card["novelty"]["flagged"],
            card["plausible"]["coverage"],
        ]
        for text, figure in itertools.product(texts, figures):
            assert "{value:.3f} ({low:.3f}–{high:.3f})".format(**figure) in text
        assert all("{value:.2f} ({low:.2f}–{high:.2f})".format(**card["plausible"]["size"]) in text for text in texts)
    card = json.loads((ROOT / "model_store/score_card/score_card.json").read_text())
    *_, mean = card["robustness"]["sets"]["test"]
    lost = {row["shift"]: -100 * row["balanced_accuracy_change"]["value"] for row in card["robustness"]["sets"]["test"]}
    in_full = "{:.1f} points on average ({} to {}), and by {:.1f} where they are blurred"
    ends = (f"{mean['balanced_accuracy_change'][end]:+.3f}".replace("-", "−") for end in ("low", "high"))
    expected = in_full.format(lost[mean["shift"]], *ends, lost["blur of 1.5 px"])
    assert expected in " ".join((ROOT / "docs/model.md").read_text().split())
    in_short = "costs {:.1f} points of balanced accuracy on average; a strong blur costs {:.1f}."
    assert in_short.format(lost[mean["shift"]], lost["blur of 1.5 px"]) in " ".join(DOCUMENTS.split())
