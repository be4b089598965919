"""README in both languages and docs/: structure, figures, links."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path

import pytest

from tests.conftest import ROOT

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
