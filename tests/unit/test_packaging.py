"""pyproject.toml against the code and the pinned requirement files."""

from __future__ import annotations

import ast
import importlib.metadata
import sys
import tomllib
from collections.abc import Iterator

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = [pattern.rstrip("*") for pattern in PYPROJECT["tool"]["setuptools"]["packages"]["find"]["include"]]
EXTRAS = PYPROJECT["project"]["optional-dependencies"]

# The packages that each extra must be enough to import.
FOLDERS = {
    "torchserve": ["api", "handler"],
    "gateway": ["api", "gateway", "supervisor"],
    "ray": ["scale"],
    "cli": ["api", "cli"],
    "page": ["api", "frontend"],
    "evaluate": ["evaluate"],
    "train": ["train"],
    "bench": ["benchmarks"],
}

# Modules that need another extra than their package.
EXCEPTIONS = {
    "api/address.py": "cli",
    "api/client.py": "cli",
    "api/colour.py": "cli",
    "api/photograph.py": "cli",
    "api/pictures.py": "cli",
    "evaluate/same_lesions.py": "bench",  # data preparation, with OpenCV
    "frontend/update.py": "test",  # updates the translations, with Babel
    "supervisor/components.py": "all",  # starts TorchServe next to the gateway
    "gateway/traces.py": "traces",
}


def declared(extra: str) -> Iterator[Requirement]:
    """The project's requirements and an extra's, with those of the extras that it names."""
    for line in [*PYPROJECT["project"]["dependencies"], *EXTRAS[extra]]:
        requirement = Requirement(line)
        if requirement.name == "mlbio":
            for other in requirement.extras:
                yield from declared(other)
        else:
            yield requirement


def imported(folder: str) -> Iterator[tuple[str, str]]:
    """Each third-party import of a package: the file and the module's first name."""
    for file in sorted((ROOT / folder).rglob("*.py")):
        if file.parent.name == "peers":  # what they serve with is in benchmarks/peers/requirements.txt
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            else:
                continue
            for module in modules:
                name = module.split(".")[0]
                if name not in sys.stdlib_module_names and name not in PACKAGES:
                    yield f"{folder}/{file.name}", name


@pytest.mark.parametrize("extra", FOLDERS)
def test_an_extra_declares_every_package_that_its_packages_import(extra):
    owners = importlib.metadata.packages_distributions()
    for folder in FOLDERS[extra]:
        for file, module in imported(folder):
            names = {canonicalize_name(requirement.name) for requirement in declared(EXCEPTIONS.get(file, extra))}
            distributions = {canonicalize_name(name) for name in owners.get(module, [])}
            assert distributions & names, (
                f"{file} imports {module}, which the extra `{EXCEPTIONS.get(file, extra)}` does not declare"
            )


def test_every_declared_package_is_pinned():
    pinned = {
        canonicalize_name(line.split("==")[0].split("[")[0])
        for file in ("requirements.txt", "requirements-ray.txt", "requirements-dev.txt")
        for line in (ROOT / file).read_text().splitlines()
        if "==" in line and not line.lstrip().startswith("#")
    }
    wanted = {canonicalize_name(requirement.name) for extra in EXTRAS for requirement in declared(extra)}
    assert wanted <= pinned


def test_the_environment_has_the_pinned_versions():
    """The lock is what the other tests ran with."""
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if "==" in line and not line.lstrip().startswith("#"):
            requirement = Requirement(line.split(" #")[0].split(" --hash")[0])
            assert importlib.metadata.version(requirement.name) in requirement.specifier, line


def test_every_package_is_declared():
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert folders == set(PACKAGES)


def test_nothing_changes_the_import_path():
    files = [file for package in [*PACKAGES, "deploy", "examples", "tests"] for file in (ROOT / package).rglob("*.py")]
    needle = "sys.path" + "."
    assert [str(file) for file in files if needle in file.read_text()] == []
