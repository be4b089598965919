"""The files of a run: a Parquet file for each shard, and a list of the photographs without a diagnosis."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bulk.rows import EXPLAINED, SCHEMA

ERRORS = "errors.csv"


def part(output: Path, shard: int) -> Path:
    """The Parquet file of a shard."""
    return output / f"part-{shard:08d}.parquet"


def write_part(path: Path, rows: list[dict[str, Any]], explained: bool) -> None:
    """Write the rows of a shard; the file is there as a whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    pq.write_table(pa.Table.from_pylist(rows, EXPLAINED if explained else SCHEMA), partial)
    partial.replace(path)


def list_errors(output: Path) -> int:
    """Write the photographs without a diagnosis, and why, to :data:`ERRORS`; returns how many there are."""
    count = 0
    partial = output / f"{ERRORS}.partial"
    with partial.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "error"])
        for path in sorted(output.glob("part-*.parquet")):
            table = pq.read_table(path, columns=["file", "error"], filters=pc.field("error").is_valid())
            writer.writerows(zip(*(table.column(name).to_pylist() for name in ("file", "error")), strict=True))
            count += table.num_rows
    partial.replace(output / ERRORS)
    return count
