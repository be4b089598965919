"""README in both languages and docs/: structure, figures, links."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

from cli import arguments
from evaluate import main_compare, main_evaluate, main_robustness
from scale import files, main_batch
from tests.conftest import ROOT
from train import main_average, main_train

README, FRENCH = ((ROOT / name).read_text() for name in ("README.md", "README.fr.md"))
DOCUMENTS = [ROOT / name for name in ("README.md", "README.fr.md", "SECURITY.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of each code block, without comments and the spaces before them."""
    found = re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL)
    return [(language, re.sub(r" +# .*", "", content)) for language, content in found]


def prose(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)|<(https?://[^>]+)>", prose(text))


def figures(text: str, thousands: str, point: str) -> list[str]:
    """Numbers of a text, sorted, and written with a point and no separator of thousands."""
    text = re.sub(rf"(?<=\d){thousands}(?=\d{{3}}\b)", "", prose(text))
    return sorted(re.findall(r"\d+(?:\.\d+)?", re.sub(rf"(?<=\d){point}(?=\d)", ".", text)))


def structure(text: str) -> list[str]:
    """A letter for each heading, list item, table row, block, picture and paragraph, in order."""
    kinds = []
    for part in re.split(r"\n\n+", re.sub(r"```(\w+)\n.*?```", r"```\1", text, flags=re.DOTALL).strip()):
        first = part.split()[0]
        if first.startswith("#") or first.startswith("```"):
            kinds.append(first)
        elif first == "|":
            kinds += [f"row of {row.count('|') - 1}" for row in part.splitlines()]
        elif first == "-":
            kinds += ["item" for line in part.splitlines() if line.startswith("- ")]
        else:
            kinds.append("picture" if first.startswith("![") else "paragraph")
    return kinds


def test_a_new_user_reads_the_readme_in_minutes():
    assert len(README.splitlines()) < 150
    before_the_first_section = README.partition("\n## ")[0]
    assert "](docs/page.png)" in before_the_first_section and "not a medical device" in before_the_first_section


def test_both_languages_say_the_same_in_the_same_order():
    for i, (english, french) in enumerate(zip_longest(structure(README), structure(FRENCH))):
        assert english == french, f"part {i}"
    assert len(re.findall(r"^## ", README, re.MULTILINE)) >= 8


def test_both_languages_have_the_same_commands_links_and_figures():
    assert blocks(README) == blocks(FRENCH)
    other_language = {"README.fr.md": "README.md"}
    assert [other_language.get(a, a) + b for a, b in links(README)] == [a + b for a, b in links(FRENCH)]
    assert figures(README, ",", r"\.") == figures(FRENCH, "\u00a0", ",")


def test_the_readmes_figures_are_those_of_the_documents():
    model = (ROOT / "docs/model.md").read_text()
    rows = re.findall(r"^\| .*0\.\d{3} \(.*$", README, re.MULTILINE)
    assert len(rows) >= 4 and all(row in model for row in rows)


def anchors(text: str) -> set[str]:
    """Anchors of a document's headings."""
    headings = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_anchors_exist(document: Path):
    for link, _ in links(document.read_text()):
        path, _, anchor = link.partition("#")
        if link and not link.startswith("http"):
            target = document.parent / path if path else document
            assert target.exists(), link
            assert not anchor or anchor in anchors(target.read_text()), link


SHELL = {
    "curl": "tests/e2e/test_readme.py",
    "torchserve": "tests/e2e/test_readme.py",
    "make": "tests/e2e/test_readme.py",
    ".venv/bin/streamlit": "tests/e2e/page.py",
    ".venv/bin/ray": "tests/e2e/test_ray.py",
    ".venv/bin/serve": "tests/e2e/test_ray.py",
    "docker": "tests/e2e/test_containers.py",
    "docker-compose": "tests/e2e/test_containers.py",
    "kubectl": "tests/unit/deploy/test_kubernetes.py",
    "sh": "tests/unit/deploy/test_install.py",
}
"""Where the commands of the documents are run, as far as they can be; ``echo`` and ``export`` lead to one of them.
Those of Python are below."""

PYTHON = {
    "from api.client": "tests/e2e/test_readme.py",
    "import requests": "tests/e2e/test_readme.py",
    "read_parquet": "this file",
}
PARSERS = {
    "cli/client.py": arguments.parse,
    "evaluate/main_compare.py": main_compare.parser().parse_args,
    "evaluate/main_evaluate.py": main_evaluate.parse,
    "evaluate/main_robustness.py": main_robustness.parser().parse_args,
    "scale/main_batch.py": main_batch.parser().parse_args,
    "train/main_average.py": main_average.parser().parse_args,
    "train/main_train.py": main_train.parser().parse_args,
}


def snippets(language: str) -> list[str]:
    return list(
        dict.fromkeys(code for path in DOCUMENTS for name, code in blocks(path.read_text()) if name == language)
    )


def commands() -> list[str]:
    """Each command of the shell snippets once."""
    lines = re.sub(r"\\\n *|\|\n *", " ", "\n".join(snippets("sh"))).splitlines()
    return list(dict.fromkeys(line.strip() for line in lines if line.strip() and not line.startswith("#")))


def test_every_python_snippet_is_run():
    assert [code for code in snippets("python") if not any(words in code for words in PYTHON)] == []


@pytest.mark.parametrize("command", commands())
def test_every_command_is_run_or_at_least_valid(command: str):
    """The options of our own programs are checked here, as their work takes minutes to hours."""
    assert subprocess.run(["bash", "-n", "-c", command]).returncode == 0
    words = [word for word in shlex.split(command) if not re.match(r"[A-Z_]+=", word)]
    if words[0] == ".venv/bin/torchrun":
        words[:2] = [".venv/bin/python"]
    if words[0] == ".venv/bin/python" and words[1] in PARSERS:
        PARSERS[words[1]](words[2:])
    elif words[0] == ".venv/bin/python":
        assert words[1:3] == ["-m", "frontend.locale.update"]  # tests/unit/frontend/test_i18n.py
    elif words[0] not in ("umask", "echo", "export"):
        assert (ROOT / SHELL[words[0]]).exists()


def test_the_results_of_a_batch_are_read_as_documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Next to its listing and its errors."""
    photographs, results = tmp_path / "photographs", tmp_path / "RESULTS"
    photographs.mkdir()
    for name in ("a.jpg", "b.jpg"):
        (photographs / name).write_bytes(b"content")
    files.prepare(photographs, results, 1, "model", None)
    good = {"file": "a.jpg", "prediction": "Melanoma", "dx": "mel", "probability": 0.5}
    for number, row in enumerate([good, {"file": "b.jpg", "error": "is no photograph"}]):
        files.write_part(files.part(results, number), [row], explained=False)
    assert files.list_errors(results) == 1
    monkeypatch.chdir(tmp_path)
    (code,) = [code for code in snippets("python") if "read_parquet" in code]
    names: dict[str, Any] = {}
    exec(code, names)
    assert [(row.file, row.dx) for row in names["answers"].itertuples()] == [("a.jpg", "mel")]


def test_the_key_file_is_made_as_documented(tmp_path: Path):
    (code,) = [code for code in snippets("sh") if "token_urlsafe" in code]
    code = code.replace(".venv/bin/python", sys.executable).replace("MLBIO_API_KEYS_FILE", "true ")
    subprocess.run(["bash", "-euc", re.sub("(?m)^true .*", "", code)], env={"HOME": str(tmp_path)}, check=True)
    path = tmp_path / "mlbio.keys"
    assert re.fullmatch(r"alice:[\w-]{40,}\n", path.read_text()) and path.stat().st_mode & 0o77 == 0


def test_every_benchmark_prints_figures_of_the_documents():
    text = " ".join(document.read_text() for document in DOCUMENTS)
    commands = [path for path in (ROOT / "benchmarks").glob("*.py") if "ArgumentParser(" in path.read_text()]
    assert commands and all(f"benchmarks/{path.name}" in text for path in commands)


def test_the_documents_are_built_and_load_nothing_from_elsewhere(tmp_path: Path):
    """Strictly: a page that no menu names, a link or an anchor that leads nowhere are errors."""
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "docs")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert built.returncode == 0, built.stderr
    pages = list((tmp_path / "docs").glob("*.html"))
    assert len(pages) >= len(list((ROOT / "docs").glob("*.md")))
    for page in pages:
        assert not re.findall(
            r"<(?:script|img|link|iframe)[^>]+(?:src|href)=\"?(?:https?:)?//[^\" >]+", page.read_text()
        )
