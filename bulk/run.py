"""A run over all shards: what is done already is left alone, the rest is spread over the machines by Ray Data."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
from tqdm import tqdm

from api.contract import Precision
from bulk.listing import Listing, ListingError, write_listing
from bulk.worker import Task, Worker, part

LISTING, PLAN, ERRORS = "photographs.txt", "run.json", "errors.csv"

REPORT_SECONDS = 30.0
"""How often a line says how far it is where there is no terminal."""


class RunError(RuntimeError):
    """The run cannot go on. The message says what to change."""


class Plan(msgspec.Struct, frozen=True):
    """What makes two runs the same, in :data:`PLAN` in the output folder."""

    sha256: str
    photographs: int
    shard: int
    model: str
    explain: Precision | None


@dataclass(frozen=True)
class Outcome:
    """Numbers of photographs of a whole run, those of earlier attempts included."""

    photographs: int
    failed: int


def prepare(source: Path, output: Path, shard: int, model: str, explain: Precision | None) -> Listing:
    """The listing of a run in ``output``, new or begun earlier.

    Raises:
        ListingError: there are no photographs.
        RunError: the folder has results of other photographs, of another model or of other options.
    """
    output.mkdir(parents=True, exist_ok=True)
    listing_file, plan_file = output / LISTING, output / PLAN
    fresh = output / f"{LISTING}.new"
    try:
        write_listing(source, fresh)
        listing = Listing.of(fresh, shard)
        plan = Plan(listing.sha256, listing.count, shard, model, explain)
        if plan_file.exists():
            try:
                before = msgspec.json.decode(plan_file.read_bytes(), type=Plan)
            except msgspec.MsgspecError as error:
                raise RunError(f"{plan_file} is damaged ({error}): use another --output") from None
            if before != plan:
                names = [f for f in Plan.__struct_fields__ if getattr(before, f) != getattr(plan, f)]
                raise RunError(
                    f"{output} has results of another run ({_differences(names)} differ): use another --output, or "
                    "delete it"
                )
        elif any(output.glob("part-*.parquet")):
            raise RunError(f"{output} has Parquet files of something else: use another --output")
        fresh.replace(listing_file)
    finally:
        fresh.unlink(missing_ok=True)
    plan_file.write_bytes(msgspec.json.encode(plan))
    return Listing(listing_file, listing.count, shard, listing.offsets, listing.sha256)


def _differences(names: list[str]) -> str:
    words = {"sha256": "the photographs", "photographs": "their number", "shard": "--shard", "explain": "--explain"}
    return ", ".join(words.get(name, f"the {name}") for name in names)


def run(task: Task, cores: float | None = None) -> Outcome:
    """Do every shard whose Parquet file is not there yet, on the Ray cluster that this process is connected to.

    Args:
        task: what to do; its threads are those of one worker.
        cores: of each worker; all of a machine's unless given.

    Raises:
        RunError: no machine of the cluster has so many cores.
    """
    listing = task.listing
    missing = [i for i in range(len(listing.offsets)) if not part(task.output, i).exists()]
    done = listing.count - sum(map(listing.size_of, missing))
    failed = 0
    # Terminals get a moving line, others a line now and then.
    with tqdm(
        total=listing.count,
        initial=done,
        unit=" photographs",
        smoothing=0.1,
        mininterval=0.5 if os.isatty(2) else REPORT_SECONDS,
    ) as progress:
        for finished in _finished(task, missing, cores):
            failed += finished["failed"]
            progress.set_postfix_str(f"{failed} not readable" if failed else "", refresh=False)
            progress.update(finished["photographs"])
    return Outcome(listing.count, list_errors(task.output))


def _finished(task: Task, shards: list[int], cores: float | None) -> Iterator[dict[str, int]]:
    """Do the shards; yields the numbers of each as it is finished, in any order."""
    if not shards:
        return
    nodes = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
    cores = cores or min(n for n in nodes if n)
    workers = sum(math.floor(n / cores) for n in nodes)
    if not workers:
        raise RunError(f"no machine of the cluster has {cores:g} cores: give fewer with --cores")
    data = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=min(len(shards), 10_000))
    done = data.map(
        cast(Any, Worker),  # Ray's types know functions alone
        fn_constructor_args=(task,),
        num_cpus=cores,
        # Some may have died, and come back later.
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(workers, len(shards)), initial_size=1),
    )
    yield from done.iter_rows()


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


__all__ = ["ListingError", "Outcome", "RunError", "list_errors", "prepare", "run"]
