"""A run over all shards: what is done already is left alone, the rest is spread over the machines by Ray Data."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import ray
from tqdm import tqdm

from bulk.plan import RunError
from bulk.results import list_errors, part
from bulk.worker import Task, Worker

REPORT_SECONDS = 30.0
"""How often a line says how far it is where there is no terminal."""


@dataclass(frozen=True)
class Outcome:
    """Numbers of photographs of a whole run, those of earlier attempts included."""

    photographs: int
    failed: int


def run(task: Task) -> Outcome:
    """Do every shard whose Parquet file is not there yet, on the Ray cluster that this process is connected to.

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
        for finished in _finished(task, missing):
            failed += finished["failed"]
            progress.set_postfix_str(f"{failed} not readable" if failed else "", refresh=False)
            progress.update(finished["photographs"])
    return Outcome(listing.count, list_errors(task.output))


def divided(task: Task, nodes: list[float]) -> tuple[Task, float, int]:
    """How workers are spread over machines with so many cores: the task with the threads of each, the cores that Ray
    reserves for each, and how many there can be.

    Raises:
        RunError: no machine has so many cores.
    """
    cores = task.cores or min(n for n in nodes if n)
    places = sum(math.floor(n / cores) for n in nodes)
    if not places:
        raise RunError(f"no machine of the cluster has {cores:g} cores: give fewer with --cores")
    if len({*nodes} - {0.0}) > 1:  # a worker with all cores of a larger machine would have others beside it
        task = replace(task, cores=max(1, int(cores)))
    return task, cores, places


def _finished(task: Task, shards: list[int]) -> Iterator[dict[str, int]]:
    """Do the shards; yields the numbers of each as it is finished, in any order."""
    if not shards:
        return
    nodes = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
    task, cores, places = divided(task, nodes)
    workers = min(places, len(shards))
    data = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=min(len(shards), 10_000))
    done = data.map(
        cast(Any, Worker),  # Ray's types know functions alone
        fn_constructor_args=(task,),
        num_cpus=cores,
        # Some may have died, and come back later.
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers, initial_size=workers),
    )
    yield from done.iter_rows()
