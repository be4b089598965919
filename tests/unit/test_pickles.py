"""No pickle is read anywhere: reading one runs whatever code is in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.unit.test_packaging import PACKAGES

FILES = [file for folder in [*PACKAGES, "deploy", "examples"] for file in sorted((ROOT / folder).rglob("*.py"))]

MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
UNPICKLING = {"read_pickle", "load_state_dict_from_url", "from_pretrained"}


def findings(source: str) -> Iterator[str]:
    """What in the source code reads a pickle, or may."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            yield node.module or ""
        elif isinstance(node, ast.ImportFrom) and node.module in ("torch", "numpy"):
            yield from (f"{node.module}.load, whose call is not seen" for alias in node.names if alias.name == "load")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            options = {word.arg: word.value for word in node.keywords}
            called = ast.unparse(node.func)
            if called == "torch.load" and not is_constant(options.get("weights_only"), True):
                yield "torch.load without weights_only=True"
            if "allow_pickle" in options and not is_constant(options["allow_pickle"], False):
                yield f"{called} with allow_pickle"
            if node.func.attr in UNPICKLING:
                yield called
            if called.startswith("yaml.") and node.func.attr in ("load", "unsafe_load", "full_load"):
                yield called


def is_constant(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(Path(file).relative_to(ROOT)))
def test_no_pickle_is_read(file: Path):
    assert list(findings(file.read_text())) == []


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from joblib import load", "torch.load(path)", "torch.load(path, weights_only=False)",
     "torch.load(path, weights_only=safe)", "np.load(path, allow_pickle=True)", "pandas.read_pickle(path)",
     "from torch import load", "yaml.load(text, Loader)"],
)  # fmt: skip
def test_what_reads_a_pickle_is_found(source: str):
    assert list(findings(source))
