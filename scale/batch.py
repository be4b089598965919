"""Batch classification into Parquet: Ray Data distributes the shards of a run to workers with one model each.

A shard is complete if its file exists, so a resumed run processes the missing ones. Ray Data's own checkpoints
(``ray.data.checkpoint.CheckpointConfig``, beta in Ray 2.60) were slower: after a kill, the resumed run had not finished
after 150 s on a busy machine with two cores, 45 s of which went into loading the checkpoint. They also show no
remaining time.
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
from api.folders import classify
from api.limits import MAX_FILE_BYTES
from api.photograph import ImageError
from api.request import DEFAULT_PRECISION, Precision, Request
from handler.model.images import read_square
from scale.archive import Archive
from scale.files import BatchError, part, paths_of, row, shard_sizes, write_part

BATCH = 32
PREFETCH = 2
"""Batches that are decoded in separate processes while one is classified; decoding takes 5 % of the time."""

CRASHES = "every process that read it crashed"

RETRIES = 5
"""Retries of a shard whose worker crashed or whose machine was lost, before the run fails."""

REPORT_SECONDS = 30.0
"""Seconds between progress lines if stderr is not a terminal."""


def run(archive: Archive, output: Path, explain: Precision | None, cores: int | None) -> None:
    """Process the shards without a Parquet file on the Ray cluster that this process is connected to.

    Args:
        archive: at the same path on every machine.
        output: folder with the listing, for the Parquet files.
        explain: precision of explanations; None for none.
        cores: per worker; None for all cores of a machine.

    Raises:
        BatchError: no machine of the cluster has enough cores.
    """
    sizes = shard_sizes(output)
    missing = [i for i in range(len(sizes)) if not part(output, i).exists()]
    if not missing:
        return
    reserved, workers = plan_workers(
        [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]], cores
    )
    workers = min(workers, len(missing))
    done = ray.data.from_items([{"shard": i} for i in missing], override_num_blocks=min(len(missing), 10_000)).map(
        cast(Any, Worker),  # Ray's types know functions alone
        fn_constructor_args=(archive, output, explain, max(1, int(reserved))),
        num_cpus=reserved,
        max_task_retries=RETRIES,
        # Machines may be lost and may return.
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


def plan_workers(nodes: list[float], cores: int | None) -> tuple[float, int]:
    """Cores per worker, and the number of workers that fit.

    Args:
        nodes: number of cores of each machine.
        cores: per worker; None for all cores of the smallest machine.

    Raises:
        BatchError: no machine has enough cores.
    """
    reserved = cores or min(n for n in nodes if n)
    workers = sum(int(n // reserved) for n in nodes)
    if not workers:
        raise BatchError(f"no machine of the cluster has {reserved:g} cores: give fewer with --cores")
    return reserved, workers


class Worker:
    """Processes shards with one loaded model; arguments as for :func:`run`.

    Raises:
        api.archive.ArchiveError: the archive cannot be used.
    """

    def __init__(self, archive: Archive, output: Path, explain: Precision | None, cores: int) -> None:
        self.output = output
        self.request = Request(b"", explain=explain is not None, precision=explain or DEFAULT_PRECISION, details=True)
        self.predictor = archive.load(cores)
        self.decode = decoding_task()

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Process the shard ``item["shard"]``; returns its numbers of photographs and of failures."""
        shard = int(item["shard"])
        rows = list(self.rows(paths_of(self.output, shard)))
        write_part(part(self.output, shard), rows, explained=self.request.explain)
        return {"photographs": len(rows), "failed": sum("error" in r for r in rows)}

    def rows(self, paths: list[str]) -> Iterator[dict[str, Any]]:
        """The rows of photographs, in order. The next batches are decoded in the background."""
        batches = [paths[i : i + BATCH] for i in range(0, len(paths), BATCH)]
        decoding = deque(self.decode(batch) for batch in batches[:PREFETCH])
        for number, batch in enumerate(batches):
            decoding.extend(map(self.decode, batches[number + PREFETCH : number + PREFETCH + 1]))
            decoded = self.decoded(decoding.popleft(), batch)
            squares = [refuse(400, each) if isinstance(each, str) else each for each in decoded]
            yield from map(row, batch, self.predictor.answer_decoded([self.request] * len(batch), squares))

    def decoded(self, result: ray.ObjectRef, paths: list[str]) -> list[np.ndarray | str]:
        """The result of :func:`decode`. If its process crashed, photographs are retried one by one."""
        try:
            return ray.get(result)
        except (WorkerCrashedError, OutOfMemoryError):
            if len(paths) == 1:
                return [CRASHES]
            return [each for path in paths for each in self.decoded(self.decode([path]), [path])]


def decoding_task() -> Callable[[list[str]], ray.ObjectRef]:
    """:func:`decode` in a separate process on this machine.

    A file that crashes a decoder or exhausts the memory then affects only its own row.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(decode).options(num_cpus=0, max_retries=0, scheduling_strategy=here).remote


def decode(paths: list[str]) -> list[np.ndarray | str]:
    """The photographs' squares, each uint8 (224, 224, 3), or an error message."""
    results: list[np.ndarray | str] = []
    for path in paths:
        try:
            if os.stat(path).st_size > MAX_FILE_BYTES:
                raise OSError(None, f"over {MAX_FILE_BYTES // 2**20} MiB: make it smaller")
            results.append(read_square(Path(path).read_bytes()))
        except ImageError as error:
            found = classify(Path(path))
            results.append(f"the file {found.reason}" if found and found.reason else str(error))
        except OSError as error:
            results.append(f"cannot be read: {error.strerror}")
        except Exception as error:  # also a NUL in its name
            results.append(f"cannot be read: {error!r}")
    return results
