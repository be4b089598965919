"""Libraries as the dynamic loader sees them, read and made."""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from deploy import elf

pytestmark = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"), reason="an ELF library for x86-64"
)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    path = tmp_path / "libgpu.so.1"
    symbols = [("gpuCount", "GPU_1"), ("gpuReset", "GPU_2"), ("_ZN3gpu7currentEv", None), ("_ZN3gpu6StreamC1Ev", None)]
    path.write_bytes(elf.empty_library(path.name, [*symbols, ("_ZTIN3gpu6StreamE", None), ("_ZTVN3gpu6StreamE", None)]))
    return path


def test_a_function_answers_that_there_is_no_device(library: Path):
    loaded = ctypes.CDLL(str(library))
    assert loaded.gpuCount() == loaded.gpuReset() == elf.NO_DEVICE


def test_a_cpp_function_answers_a_reference_that_can_be_written(library: Path):
    function = ctypes.CDLL(str(library))["_ZN3gpu7currentEv"]
    function.restype = ctypes.POINTER(ctypes.c_uint64 * 8)
    assert list(function().contents) == [0] * 8
    function().contents[0] = 7
    assert function().contents[0] == 7


def test_an_object_has_a_type_and_methods(library: Path):
    loaded = ctypes.CDLL(str(library))
    made = (ctypes.c_uint64 * 1)()
    loaded["_ZN3gpu6StreamC1Ev"](ctypes.byref(made))
    offset, kind, method = (ctypes.c_uint64 * 3).from_address(made[0] - 16)
    assert offset == 0
    assert ctypes.string_at((ctypes.c_uint64 * 2).from_address(kind)[1]) == b"6NoType"
    assert ctypes.CFUNCTYPE(ctypes.c_void_p)(method)()


def test_a_type_has_its_own_name(library: Path):
    _, name = (ctypes.c_uint64 * 2).in_dll(ctypes.CDLL(str(library)), "_ZTIN3gpu6StreamE")
    assert ctypes.string_at(name) == b"N3gpu6StreamE"


def test_versions_are_found(library: Path):
    """dlvsym is how the loader looks for a symbol that is bound to a version."""
    find = ctypes.CDLL(None).dlvsym
    find.restype, find.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]
    handle = ctypes.CDLL(str(library))._handle
    assert find(handle, b"gpuCount", b"GPU_1") and find(handle, b"gpuReset", b"GPU_2")
    assert not find(handle, b"gpuCount", b"GPU_2")


def test_an_empty_library_is_loaded(tmp_path: Path):
    path = tmp_path / "libnothing.so"
    path.write_bytes(elf.empty_library(path.name, []))
    assert ctypes.CDLL(str(path))


def test_a_library_is_read():
    extension = Path(msgspec._core.__file__)
    read = elf.read(extension)
    printed = subprocess.run(["ldd", str(extension)], capture_output=True, text=True, check=True).stdout
    assert read.needed and all(name in printed for name in read.needed)
    assert "PyInit__core" in read.defined
    assert "PyLong_FromLongLong" in read.undefined and read.undefined["PyLong_FromLongLong"] is None
    assert read.undefined["memcpy"] == ("libc.so.6", "GLIBC_2.14")
    assert read.machine == elf.X86_64


@pytest.mark.parametrize("content", [b"", b"not a library", b"\x7fELF\x01\x01" + bytes(100)])
def test_what_is_no_library_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(elf.ElfError, match="not a 64-bit"):
        elf.read(path)


def test_a_stripped_library_is_smaller_and_the_same(tmp_path: Path):
    """The interpreter may come stripped, and torch by our own set-up, so a package that never is: torchvision's."""
    import torchvision

    original = Path(torchvision.__file__).parent / "_C_stable.so"
    path = Path(shutil.copy(original, tmp_path))
    saved = elf.strip(path)
    assert 0 < saved == original.stat().st_size - path.stat().st_size
    assert elf.read(path) == elf.read(original)
    assert elf.strip(path) == 0
