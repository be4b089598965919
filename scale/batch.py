"""Many photographs into Parquet: Ray Data spreads the shards of a run over workers, each of which holds one model.

A shard whose file exists is done; resuming needs nothing else. Ray Data's own checkpoints
(``ray.data.checkpoint.CheckpointConfig``, beta in Ray 2.60) were tried instead: after a kill, the resumed run had not
finished after 150 s on a busy machine with two cores, 45 s of which went into loading the checkpoint; nor is there a
progress line with the time left.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import ray
from ray.exceptions import OutOfMemoryError, WorkerCrashedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from tqdm import tqdm

from api.answer import refuse
from api.photograph import ImageError
from api.request import DEFAULT_PRECISION, Precision, Request
from handler.model.images import read_square
from scale.archive import Archive
from scale.files import BatchError, part, paths_of, row, shard_sizes, write_part

BATCH = 32
AHEAD = 2
"""Batches that are decoded, each in its own process, while one is classified; decoding takes 5 % of the time."""

CRASHES = "every process that read it crashed"

MAX_BYTES = 64 * 2**20
"""A larger file is not read."""

RETRIES = 5
"""How often a shard is repeated after its worker crashed or its machine was lost, before the run fails."""

REPORT_SECONDS = 30.0
"""Seconds between lines of progress where there is no terminal."""


def run(archive: Archive, output: Path, explain: Precision | None, cores: int | None) -> None:
    """Do every shard whose Parquet file is not there yet, on the Ray cluster that this process is connected to.

    Args:
        archive: on every machine at the same path.
        output: folder with the listing, for the Parquet files.
        explain: the precision of explanations; None for none.
        cores: of each worker; None for all of a machine's.

    Raises:
        BatchError: no machine of the cluster has so many cores.
    """
    sizes = shard_sizes(output)
    missing = [i for i in range(len(sizes)) if not part(output, i).exists()]
    if not missing:
        return
    reserved, workers = divide([node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]], cores)
    workers = min(workers, len(missing))
    done = ray.data.from_items([{"shard": i} for i in missing], override_num_blocks=min(len(missing), 10_000)).map(
        cast(Any, Worker),  # Ray's types know functions alone
        fn_constructor_args=(archive, output, explain, max(1, int(reserved))),
        num_cpus=reserved,
        max_task_retries=RETRIES,
        # A worker may go with its machine, and come back later.
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers, initial_size=workers),
    )
    failed = 0
    with tqdm(
        total=sum(sizes),
        initial=sum(sizes) - sum(sizes[i] for i in missing),
        unit=" photographs",
        smoothing=0.1,
        # A terminal gets a moving line, anything else a line now and then.
        mininterval=0.5 if os.isatty(2) else REPORT_SECONDS,
    ) as progress:
        for finished in done.iter_rows():
            failed += finished["failed"]
            progress.set_postfix_str(f"{failed} not readable" if failed else "", refresh=False)
            progress.update(finished["photographs"])


def divide(nodes: list[float], cores: int | None) -> tuple[float, int]:
    """The cores of each worker, and how many workers there can be, on machines with so many cores.

    Raises:
        BatchError: no machine has so many cores.
    """
    reserved = cores or min(n for n in nodes if n)
    workers = sum(int(n // reserved) for n in nodes)
    if not workers:
        raise BatchError(f"no machine of the cluster has {reserved:g} cores: give fewer with --cores")
    return reserved, workers


class Worker:
    """Holds the model, and does one shard after another; arguments as those of :func:`run`.

    Raises:
        api.archive.ArchiveError: the archive cannot be used.
    """

    def __init__(self, archive: Archive, output: Path, explain: Precision | None, cores: int) -> None:
        self.output = output
        self.request = Request(b"", explain=explain is not None, precision=explain or DEFAULT_PRECISION, details=True)
        self.predictor = archive.load(cores)
        self.decode = decoding_task()

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Do the shard ``item["shard"]``; returns its numbers of photographs and of those that failed."""
        shard = int(item["shard"])
        rows = list(self.rows(paths_of(self.output, shard)))
        write_part(part(self.output, shard), rows, explained=self.request.explain)
        return {"photographs": len(rows), "failed": sum("error" in r for r in rows)}

    def rows(self, paths: list[str]) -> Iterator[dict[str, Any]]:
        """The rows of photographs, in order; the next batches are decoded while one is classified."""
        batches = [paths[i : i + BATCH] for i in range(0, len(paths), BATCH)]
        decoding = deque(self.decode(batch) for batch in batches[:AHEAD])
        for number, batch in enumerate(batches):
            decoding.extend(map(self.decode, batches[number + AHEAD : number + AHEAD + 1]))
            decoded = self.decoded(decoding.popleft(), batch)
            squares = [refuse(400, each) if isinstance(each, str) else each for each in decoded]
            yield from map(row, batch, self.predictor.answer_decoded([self.request] * len(batch), squares))

    def decoded(self, result: ray.ObjectRef, paths: list[str]) -> list[np.ndarray | str]:
        """What :func:`decode` returned; if its process crashed, the photograph that crashed it is found."""
        try:
            return ray.get(result)
        except (WorkerCrashedError, OutOfMemoryError):
            if len(paths) == 1:
                return [CRASHES]
            return [each for path in paths for each in self.decoded(self.decode([path]), [path])]


def decoding_task() -> Callable[[list[str]], ray.ObjectRef]:
    """:func:`decode` in a process of its own on this machine.

    A file that crashes a decoder, or fills the memory, then costs no more than its own row.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(decode).options(num_cpus=0, max_retries=0, scheduling_strategy=here).remote


def decode(paths: list[str]) -> list[np.ndarray | str]:
    """The photographs' squares, each uint8 (224, 224, 3), or why there is none."""
    results: list[np.ndarray | str] = []
    for path in paths:
        try:
            if os.stat(path).st_size > MAX_BYTES:
                raise OSError(None, f"over {MAX_BYTES // 2**20} MiB: make it smaller")
            results.append(read_square(Path(path).read_bytes()))
        except ImageError as error:
            results.append(str(error))
        except OSError as error:
            results.append(f"cannot be read: {error.strerror}")
        except Exception as error:  # also a NUL in its name
            results.append(f"cannot be read: {error!r}")
    return results
