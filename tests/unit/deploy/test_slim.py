"""What leaves an image's packages, and what stays; tests/e2e/test_containers.py imports torch in such an image."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

FILES = {
    "numpy/core.py": "",
    "numpy/tests/test_core.py": "",
    "torch/include/torch.h": "",
    "torch/backends/cuda/__init__.py": "def is_built():\n    return torch._C._has_cuda\n",
    "torch-2.14.1.dist-info/METADATA": "Name: torch\nRequires-Dist: nvidia-cublas==13; x\nRequires-Dist: sympy\n",
    "nvidia/cublas/lib/libcublas.so.13": "",
    "nvidia_cublas-13.dist-info/METADATA": "",
    "triton/__init__.py": "",
    "openvino/libs/libopenvino_intel_gpu_plugin.so": "",
    "openvino/libs/libopenvino_onnx_frontend.so.2026": "",
    "openvino/libs/libopenvino_intel_cpu_plugin.so": "",
}
NOT_IN_A_CONTAINER = {
    "numpy/tests/test_core.py",
    "torch/include/torch.h",
    "openvino/libs/libopenvino_onnx_frontend.so.2026",
}
GONE_WITHOUT_A_GPU = {name for name in FILES if name.startswith(("nvidia", "triton")) or "gpu_plugin" in name}


def slimmed(folder: Path, *options: str) -> Path:
    """A folder of packages after the command."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    code = "import sys, sysconfig; sysconfig.get_path = lambda name: sys.argv[1]; import slim; slim.main(sys.argv[2:])"
    subprocess.run([sys.executable, "-c", code, str(folder), *options], cwd=ROOT / "deploy", check=True)
    return folder


def left(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_tests_and_headers_go_from_a_container(tmp_path: Path):
    assert left(slimmed(tmp_path, "--container")) == set(FILES) - NOT_IN_A_CONTAINER


@pytest.mark.skipif(platform.machine() != "x86_64", reason="PyPI's torch has CUDA on x86-64 alone")
def test_without_a_gpu_its_code_goes_and_pip_does_not_bring_it_again(tmp_path: Path):
    folder = slimmed(tmp_path, "--no-gpu")
    assert left(folder) == set(FILES) - GONE_WITHOUT_A_GPU
    metadata = (folder / "torch-2.14.1.dist-info/METADATA").read_text()
    assert metadata == "Name: torch\nRequires-Dist: sympy\n"
    assert "return False" in (folder / "torch/backends/cuda/__init__.py").read_text()
