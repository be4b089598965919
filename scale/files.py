"""The files of a run, in its output folder.

The listing has a row group for each shard, with the paths of its photographs, and what makes two runs the same as its
metadata. Each shard that is done has a Parquet file, and ``errors.csv`` lists the photographs without a diagnosis.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from api.answer import Answer, Failure, Prediction
from api.files import write_atomically
from api.flat import COLUMNS, EXPLANATION_COLUMNS, flat
from api.folders import Kind, find_photographs
from api.photograph import EXTENSIONS
from api.pictures import explanation_png
from api.request import Precision
from api.tables import TableError, path_of, read_lines, read_table

LISTING = "_photographs.parquet"
"""Readers of a folder of Parquet files skip names with an underscore."""

_PATHS = pa.schema([("path", pa.binary())])  # names of files need not be UTF-8
_OPTIONS = {"photographs": "the photographs", "model": "the model", "explain": "--explain", "shard": "--shard"}

ERRORS = "errors.csv"

_TYPES = {str: pa.string(), float: pa.float64(), bool: pa.bool_(), int: pa.int64()}

SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("error", pa.string()),  # why there is no diagnosis; null where there is one
        *((name, _TYPES[kind]) for name, kind in COLUMNS.items()),
    ]
)

EXPLAINED = pa.schema(
    [
        *SCHEMA,
        *((name, _TYPES[kind]) for name, kind in EXPLANATION_COLUMNS.items()),
        ("weights", pa.list_(pa.float64())),  # of each region, in log-odds
        ("region_map", pa.binary()),  # PNG of 224 x 224, a grey level for each region
        ("explained", pa.binary()),  # PNG of 224 x 224 with the supporting regions outlined
    ]
)


class BatchError(RuntimeError):
    """The run is not possible. The message says what to change."""


def prepare(source: Path, output: Path, shard: int, model: str, explain: Precision | None) -> None:
    """List the photographs of a run, new or begun earlier, in shards of ``shard`` in ``output``.

    Raises:
        BatchError: there are no photographs, or the folder has results of other ones, another model or other options.
    """
    output.mkdir(parents=True, exist_ok=True)
    listing = output / LISTING
    with write_atomically(listing) as fresh:
        write_listing(source, fresh, shard, {"model": model, "explain": explain or "", "shard": str(shard)})
        if listing.exists():
            if different := _differences(listing, fresh):
                raise BatchError(
                    f"{output} has results of another run ({', '.join(different)} differ): use another --output, or "
                    "delete it"
                )
        elif any(output.glob("part-*.parquet")):
            raise BatchError(f"{output} has Parquet files of something else: use another --output")


def shard_sizes(output: Path) -> list[int]:
    """The number of photographs of each shard."""
    metadata = pq.read_metadata(output / LISTING)
    return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]


def paths_of(output: Path, shard: int) -> list[str]:
    """The paths of a shard."""
    with pq.ParquetFile(output / LISTING) as file:
        return [os.fsdecode(path) for path in file.read_row_group(shard)["path"].to_pylist()]


def write_listing(source: Path, target: Path, shard: int, metadata: dict[str, str]) -> None:
    """Write the paths of ``source`` to ``target``, each absolute, with ``metadata`` and a checksum of them.

    ``source`` is a folder, which is searched with all folders in it in the order of their names, or a file: a table
    with a column ``file``, or a path a line. Its paths are relative to its own folder. Photographs that cannot be read
    are listed too, so that each has a row with the reason.

    Raises:
        BatchError: it is neither, has no photograph, or a path with a line break in it.
    """
    if source.is_dir():
        paths = _found(source)
    elif source.is_file():
        paths = _listed(source)
    else:
        raise BatchError(f"{source} is neither a folder nor a file")
    digest, count = hashlib.sha256(), 0
    with pq.ParquetWriter(target, _PATHS) as file:
        while names := [os.fsencode(path) for path in itertools.islice(paths, shard)]:
            for name in names:
                if b"\n" in name:
                    raise BatchError(f"{os.fsdecode(name)!r} has a line break in its name: rename it")
                digest.update(name + b"\n")
            file.write_table(pa.table({"path": names}, _PATHS))
            count += len(names)
        file.add_key_value_metadata(metadata | {"photographs": digest.hexdigest()})
    if not count:
        raise BatchError(f"{source} has no photographs ({', '.join(sorted(EXTENSIONS))})")


def _differences(before: Path, now: Path) -> list[str]:
    """What differs between the runs of two listings."""
    try:
        old, new = ((pq.read_metadata(path).metadata or {}) for path in (before, now))
    except pa.ArrowInvalid as error:
        raise BatchError(f"{before} is damaged ({error}): use another --output") from None
    return [words for name, words in _OPTIONS.items() if old.get(name.encode()) != new.get(name.encode())]


def _found(folder: Path) -> Iterator[str]:
    explanations = 0
    for found in find_photographs(folder.resolve()):
        if found.kind is Kind.EXPLANATION:
            explanations += 1
        else:
            yield str(found.path)
    if explanations:
        print(f"{explanations} pictures of explanations are left out", file=sys.stderr)


def _listed(source: Path) -> Iterator[str]:
    folder = source.resolve().parent
    try:
        if source.suffix.lower() in (".csv", ".tsv") or _has_header(source):
            names: Iterator[str] = (row["image"] for row in read_table(source, ("image",)).rows)
        else:
            names = (line for _, line in read_lines(source))
        for name in names:
            if name:
                yield _path_named(folder, name)
    except TableError as error:
        raise BatchError(str(error)) from None


def _has_header(source: Path) -> bool:
    """Whether the first line of a file names a column of paths."""
    first = next((line for _, line in read_lines(source)), "")
    try:
        return first.lower().startswith("sep=") or bool(read_table(os.fsencode(first), ("image",)))
    except TableError:
        return False


def _path_named(folder: Path, name: str) -> str:
    """The path of a photograph that a list names: as it is there, or as other systems and programs write it."""
    unquoted = name.strip('"')  # Explorer copies paths in quotation marks
    usual = str(path_of(unquoted)) if "\\" in unquoted else unquoted
    spellings = [name, usual]
    if not name.isascii():
        with contextlib.suppress(UnicodeEncodeError):  # names of files need not be UTF-8
            spellings.append(os.fsdecode(name.encode("cp1252", "surrogateescape")))
    elif not os.path.splitext(usual)[1]:  # image_id of HAM10000
        spellings += [f"{usual}.{extension}" for extension in EXTENSIONS]
    elif name == usual:
        return os.path.join(folder, name)
    return next((path for each in spellings if os.path.exists(path := os.path.join(folder, each))), str(folder / usual))


def part(output: Path, shard: int) -> Path:
    """The Parquet file of a shard."""
    return output / f"part-{shard:08d}.parquet"


def write_part(path: Path, rows: list[dict[str, Any]], explained: bool) -> None:
    """Write the rows of a shard; the file is there as a whole or not at all."""
    with write_atomically(path) as partial:
        pq.write_table(pa.Table.from_pylist(rows, EXPLAINED if explained else SCHEMA), partial)


def row(file: str, answer: Answer) -> dict[str, Any]:
    """The row of a photograph with this answer to a request for details."""
    # Parquet takes UTF-8 alone: other bytes of a name become \xef, for example.
    name = os.fsencode(file).decode("utf-8", "backslashreplace")
    if answer.status != 200:
        return {"file": name, "error": msgspec.json.decode(answer.body, type=Failure).error}
    prediction = msgspec.json.decode(answer.body, type=Prediction)
    columns: dict[str, Any] = {"file": name, **flat(prediction)}
    if prediction.details and (found := prediction.details.explanation):
        columns |= {"weights": list(found.regions.weights), "region_map": base64.b64decode(found.regions.map)}
    if prediction.explain is not None:
        columns["explained"] = explanation_png(prediction.explain)
    return columns


def list_errors(output: Path) -> int:
    """Write the photographs without a diagnosis, and why, to :data:`ERRORS`; returns how many there are."""
    count = 0
    with write_atomically(output / ERRORS) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "error"])
        for path in sorted(output.glob("part-*.parquet")):
            table = pq.read_table(path, columns=["file", "error"], filters=pc.field("error").is_valid())
            writer.writerows(zip(*(table.column(name).to_pylist() for name in ("file", "error")), strict=True))
            count += table.num_rows
    return count
