"""What the dynamic loader sees of a shared library (64-bit ELF), and a library made of nothing but that."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

SYMTAB_SECTION, DYNAMIC, DYNSYM, VERNEED, VERSYM = 2, 6, 11, 0x6FFFFFFE, 0x6FFFFFFF
"""Types of sections."""
PAGE = 4096
NOBITS = 8
"""The type of a section that is not in the file."""
NEEDED, HASH, STRTAB, SYMTAB, RELA, RELASZ, RELAENT, STRSZ, SYMENT, SONAME = 1, 4, 5, 6, 7, 8, 9, 10, 11, 14
VERSYM_TAG, VERDEF_TAG, VERDEFNUM = 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFD
"""Tags of entries of the dynamic section."""
GLOBAL, DATA, CODE = 1, 1, 2
"""A symbol's binding, and its types."""
X86_64 = 62
NO_DEVICE = 100
"""cudaErrorNoDevice, which is also CUDA_ERROR_NO_DEVICE."""
FUNCTION = b"\xb8" + struct.pack("<i", NO_DEVICE) + b"\xc3"
"""mov eax, 100; ret"""
METHOD = b"\x48\x8d\x05" + struct.pack("<i", 1) + b"\xc3" + bytes(64)
"""lea rax, [the zeros below]; ret: torch registers functions with C++ ones, through a reference that they return."""
METHODS = 32
"""In a table of methods."""
CONSTRUCTOR = b"\x48\x8d\x05" + struct.pack("<i", -8 * METHODS - 7) + b"\x48\x89\x07\xc3"
"""lea rax, [the methods, right before]; mov [rdi], rax; ret: some default arguments of torch are objects."""
TABLE = "_ZTV"
"""How the name of a class's table of methods begins."""
CONSTRUCTORS = re.compile(r"C[12]E")
RELATIVE = 8
"""R_X86_64_RELATIVE."""
CPP = "_Z"
"""How C++ names begin."""
TYPE_INFO = "_ZTI"
"""How the name of a C++ class's type information begins: data, where its constructor's would be code."""


class ElfError(ValueError):
    """A file that is no 64-bit little-endian ELF file with sections."""


@dataclass
class Library:
    """A shared library or an executable.

    Attributes:
        needed: the names of the libraries that it is linked to.
        defined: the symbols that others can use.
        undefined: the symbols that it cannot be loaded without, each with the library and the version that it is bound
            to, or None.
        machine: ELF's number of the processor.
    """

    needed: list[str] = field(default_factory=list)
    defined: set[str] = field(default_factory=set)
    undefined: dict[str, tuple[str, str] | None] = field(default_factory=dict)
    machine: int = 0


def read(path: Path) -> Library:
    """Read a library.

    Raises:
        ElfError: it is none.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:

        def at(offset: int, size: int) -> bytes:
            file.seek(offset)
            return file.read(size)

        header, sections = _sections(file, path)
        library = Library(machine=struct.unpack_from("<H", header, 18)[0])
        # Type to the section's content and that of its table of strings.
        found = {s[1]: (at(s[4], s[5]), at(sections[s[6]][4], sections[s[6]][5])) for s in sections if s[1] != NOBITS}

    if DYNAMIC in found:
        content, strings = found[DYNAMIC]
        entries = struct.iter_unpack("<QQ", content)
        library.needed = [_text(strings, value) for tag, value in entries if tag == NEEDED]
    if DYNSYM not in found:
        return library
    versions = _versions(*found[VERNEED]) if VERNEED in found else {}
    indices = [i for (i,) in struct.iter_unpack("<H", found[VERSYM][0])] if VERSYM in found else []
    content, strings = found[DYNSYM]
    for number, (name, info, _, section, _, _) in enumerate(struct.iter_unpack("<IBBHQQ", content)):
        symbol = _text(strings, name)
        if not symbol:
            continue
        if section:
            library.defined.add(symbol)
        elif info >> 4 == GLOBAL:  # global; a weak symbol may be missing
            library.undefined[symbol] = versions.get(indices[number] & 0x7FFF) if indices else None
    return library


def strip(path: Path) -> int:
    """Take out the symbols that only debuggers read, in place; returns the bytes saved, 0 where there are none.

    What comes behind them in the file moves up by whole pages, as it may be mapped into memory.

    Raises:
        ElfError: it is no library.
        OSError: it cannot be read or written.
    """
    with path.open("r+b") as file:
        header, sections = _sections(file, path)
        dropped = {i for i, s in enumerate(sections) if s[1] == SYMTAB_SECTION}
        dropped |= {sections[i][6] for i in dropped}
        start = min((sections[i][4] for i in dropped), default=0)
        end = max((sections[i][4] + sections[i][5] for i in dropped), default=0)
        saved = (end - start) // PAGE * PAGE
        between = [s for i, s in enumerate(sections) if i not in dropped and s[1] != NOBITS and start <= s[4] < end]
        if not saved or between:
            return 0

        def moved(offset: int) -> int:
            return offset - saved if offset >= end else offset

        for i, section in enumerate(sections):
            sections[i] = (0,) * 10 if i in dropped else (*section[:4], moved(section[4]), *section[5:])
        program, table = struct.unpack_from("<QQ", header, 32)
        size, count = struct.unpack_from("<HH", header, 54)
        file.seek(program)
        segments = [list(s) for s in struct.iter_unpack("<IIQQQQQQ", file.read(size * count))]
        for segment in segments:
            segment[2] = moved(segment[2])
        file.seek(end)
        behind = file.read()
        file.truncate(file.seek(end - saved))
        file.write(behind)
        file.seek(moved(table))
        file.write(b"".join(struct.pack("<IIQQQQIIQQ", *section) for section in sections))
        file.seek(moved(program))
        file.write(b"".join(struct.pack("<IIQQQQQQ", *segment) for segment in segments))
        file.seek(40)
        file.write(struct.pack("<Q", moved(table)))
    return saved


def _sections(file: BinaryIO, path: Path) -> tuple[bytes, list[tuple[int, ...]]]:
    """A file's header, and the headers of its sections."""
    file.seek(0)
    header = file.read(64)
    if len(header) < 64 or header[:6] != b"\x7fELF\x02\x01":
        raise ElfError(f"{path}: not a 64-bit little-endian ELF file")
    (table,) = struct.unpack_from("<Q", header, 40)
    size, count = struct.unpack_from("<HH", header, 58)
    file.seek(table)
    return header, [*struct.iter_unpack("<IIQQQQIIQQ", file.read(size * count))]


def _versions(content: bytes, strings: bytes) -> dict[int, tuple[str, str]]:
    """The libraries and versions that a library needs, by the index that its symbols have."""
    found, at = {}, 0
    while True:
        _, count, file, auxiliary, following = struct.unpack_from("<HHIII", content, at)
        inner = at + auxiliary
        for _ in range(count):
            _, _, index, name, step = struct.unpack_from("<IHHII", content, inner)
            found[index] = _text(strings, file), _text(strings, name)
            inner += step
        if not following:
            return found
        at += following


def _text(strings: bytes, at: int) -> str:
    return strings[at : strings.index(b"\0", at)].decode()


def empty_library(name: str, symbols: Iterable[tuple[str, str | None]]) -> bytes:
    """A library for x86-64 whose functions of C answer ``cudaErrorNoDevice``, and those of C++ a reference to zeros.

    Args:
        name: the library's own.
        symbols: what it defines, and the version of each or None.
    """
    symbols = sorted(symbols, key=lambda symbol: symbol[0])
    names = sorted({version for _, version in symbols if version})
    strings, places = bytearray(b"\0"), {}
    for text in (name, *names, *(s for s, _ in symbols), *(_type_name(s) for s, _ in symbols), "6NoType"):
        if text not in places:
            places[text] = len(strings)
            strings += text.encode() + b"\0"

    # The file is mapped once, at its own offsets, so an offset is an address.
    parts: dict[str, int] = {}
    content = bytearray(64 + 3 * 56)

    def put(part: str, data: bytes) -> None:
        content.extend(bytes(-len(content) % 16))
        parts[part] = len(content)
        content.extend(data)

    put("strings", bytes(strings))
    put("function", FUNCTION)
    put("method", METHOD)
    # As in C++'s ABI: an offset, the class's type and its methods; the constructor follows.
    put("table", bytes(8 * (2 + METHODS)))
    put("constructor", CONSTRUCTOR)
    types = [f"{TYPE_INFO}6NoType", *(symbol for symbol, _ in symbols if symbol.startswith(TYPE_INFO))]
    put("types", bytes(16 * len(types)))
    # A type is a pointer to a table, and one to its name.
    pointers = {parts["types"] + 16 * i + 8: parts["strings"] + places[_type_name(t)] for i, t in enumerate(types)}
    pointers |= {parts["types"] + 16 * i: parts["table"] + 16 for i in range(len(types))}
    pointers[parts["table"] + 8] = parts["types"]
    pointers |= {parts["table"] + 16 + 8 * i: parts["method"] for i in range(METHODS)}
    put("relocations", b"".join(struct.pack("<QQq", place, RELATIVE, value) for place, value in pointers.items()))
    address = {symbol: parts["types"] + 16 * i for i, symbol in enumerate(types)}
    address |= {symbol: parts["table"] for symbol, _ in symbols if symbol.startswith(TABLE)}
    rows = []
    for symbol, _ in symbols:
        code = parts[_kind(symbol)]
        kind = DATA if symbol in address else CODE
        rows.append(struct.pack("<IBBHQQ", places[symbol], GLOBAL << 4 | kind, 0, 1, address.get(symbol, code), 16))
    put("symbols", bytes(24) + b"".join(rows))
    # One chain with every symbol: slow to search in theory only.
    total = len(symbols) + 1
    chain = [*(i + 1 for i in range(1, len(symbols))), 0] if symbols else []
    put("hash", struct.pack(f"<II I {total}I", 1, total, 1 if symbols else 0, 0, *chain))
    index = {version: i + 2 for i, version in enumerate(names)}
    put("versym", struct.pack(f"<{total}H", 0, *(index[v] if v else 1 for _, v in symbols)))
    definitions = b"".join(
        struct.pack("<HHHHIII", 1, flags, i, 1, _sysv_hash(text), 20, 28 if i <= len(names) else 0)
        + struct.pack("<II", places[text], 0)
        for flags, i, text in ((1, 1, name), *((0, i, text) for text, i in index.items()))
    )
    put("verdef", definitions)
    dynamic = {
        SONAME: places[name],
        HASH: parts["hash"],
        STRTAB: parts["strings"],
        SYMTAB: parts["symbols"],
        STRSZ: len(strings),
        SYMENT: 24,
        RELA: parts["relocations"],
        RELASZ: 24 * len(pointers),
        RELAENT: 24,
        VERSYM_TAG: parts["versym"],
        VERDEF_TAG: parts["verdef"],
        VERDEFNUM: len(names) + 1,
    }
    put("dynamic", b"".join(struct.pack("<QQ", *entry) for entry in (*dynamic.items(), (0, 0))))

    size = len(content)
    content[:64] = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, X86_64, 1, 0, 64, 0, 0, 64, 56, 3, 64, 0, 0
    )
    everything = (1, 7, 0, 0, 0, size, size, 4096)
    table = (
        2,
        6,
        parts["dynamic"],
        parts["dynamic"],
        parts["dynamic"],
        size - parts["dynamic"],
        size - parts["dynamic"],
        8,
    )
    stack = (0x6474E551, 6, 0, 0, 0, 0, 0, 16)  # not executable
    content[64 : 64 + 3 * 56] = b"".join(struct.pack("<IIQQQQQQ", *row) for row in (everything, table, stack))
    return bytes(content)


def _type_name(symbol: str) -> str:
    return symbol.removeprefix(TYPE_INFO)


def _kind(symbol: str) -> str:
    """Which code a function gets."""
    if not symbol.startswith(CPP):
        return "function"
    return "constructor" if CONSTRUCTORS.search(symbol) else "method"


def _sysv_hash(text: str) -> int:
    """ELF's hash of a name."""
    value = 0
    for byte in text.encode():
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ (high >> 24)) & ~high & 0xFFFFFFFF
    return value
