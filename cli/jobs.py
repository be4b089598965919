"""Several photographs at once, with results in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2
"""Photographs per job that are in progress or waiting to be written."""


def in_order(function: Callable[[Item], Result], items: Iterable[Item], jobs: int) -> Generator[Result, None, None]:
    """``function`` of each item, computed by ``jobs`` threads.

    At most ``jobs * AHEAD`` items are held in memory. The threads are daemons, so that Ctrl-C ends the program at once;
    those of concurrent.futures would finish their explanations first. Closing the connections cancels them.
    """
    tasks: SimpleQueue[tuple[Future[Result], Item] | None] = SimpleQueue()

    def work() -> None:
        while (task := tasks.get()) is not None:
            future, item = task
            try:
                future.set_result(function(item))
            except BaseException as error:
                future.set_exception(error)

    for _ in range(jobs):
        threading.Thread(target=work, daemon=True).start()
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            future: Future[Result] = Future()
            tasks.put((future, item))
            pending.append(future)
            if len(pending) == jobs * AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for _ in range(jobs):
            tasks.put(None)
