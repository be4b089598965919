"""A session's photographs and the requests about them, in threads that no click interrupts.

Streamlit runs the page's script again after every click, and aborts the run in progress. So the script sends nothing to
the service: it adds photographs to a :class:`TaskQueue`, asks it for explanations, and draws the results so far.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from api.answer import ExplanationFigures, Prediction
from api.client import Client
from api.request import DEFAULT_PRECISION, Precision
from api.service_errors import RequestRefused, ServiceError, ServiceUnreachable, WrongAddress
from frontend.photographs import Photograph, thumbnail

State = Literal["waiting", "running", "done", "failed", "stopped"]
Kind = Literal["diagnosis", "explanation"]

MAX_RUNNING: dict[Kind, int] = {"diagnosis": 4, "explanation": 2}
"""Concurrent requests of a session: enough to keep the service busy, too few to starve others."""

MAX_RETRY_SECONDS = 30.0
"""A service that is busy or unreachable is tried again at least this often."""


@dataclass
class Task:
    """A diagnosis or an explanation of one photograph.

    Attributes:
        precision: of the explanation; None for a diagnosis alone.
        progress: finished share, 0 to 1.
        answer: of the service, once ``state`` is done; that of an earlier explanation until then.
        error: why there is no answer, once ``state`` is failed.
    """

    precision: Precision | None = None
    state: State = "waiting"
    progress: float = 0.0
    answer: Prediction | None = None
    error: Exception | None = None

    @property
    def pending(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ("waiting", "running")

    def stop(self) -> None:
        """Cancel it unless it is over; a request in progress is aborted with the next sign of progress."""
        if self.pending:
            self.state = "stopped"


@dataclass
class Entry:
    """A photograph with its diagnosis and, once requested, its explanation.

    Attributes:
        views: cached HTML by kind and language, with the answer that it shows: the page is drawn again after every
            click.
    """

    photograph: Photograph
    diagnosis: Task = field(default_factory=Task)
    explanation: Task | None = None
    views: dict[tuple[str, str], tuple[Prediction | None, str]] = field(default_factory=dict, repr=False)

    @property
    def tasks(self) -> list[Task]:
        """The diagnosis, and the explanation if there is one."""
        return [self.diagnosis] if self.explanation is None else [self.diagnosis, self.explanation]

    @cached_property
    def thumbnail(self) -> str | None:
        """For the table, as a ``data:`` URL; None if the file cannot be decoded."""
        return thumbnail(self.photograph.content)

    @property
    def answer(self) -> Prediction | None:
        """The most complete answer so far: that of an explanation includes the diagnosis."""
        if self.explanation is not None and self.explanation.answer is not None:
            return self.explanation.answer
        return self.diagnosis.answer

    @property
    def figures(self) -> ExplanationFigures | None:
        """The figures of the explanation, if there is one."""
        answer = self.explanation.answer if self.explanation else None
        return answer.details.explanation if answer and answer.details else None

    @property
    def is_unlike_training(self) -> bool:
        """Whether the photograph is flagged as unlike the training photographs."""
        details = self.answer.details if self.answer else None
        return bool(details and details.out_of_distribution and details.out_of_distribution.flagged)

    def can_be_explained(self, precision: Precision) -> bool:
        """Whether there is a diagnosis to explain, and no explanation of this precision or in progress."""
        if self.diagnosis.state == "failed" or (self.explanation is not None and self.explanation.pending):
            return False
        return self.figures is None or self.figures.precision != precision


class _Stopped(Exception):
    """The task was stopped. Raised while the answer is read, it closes the connection, which cancels the request."""


class TaskQueue:
    """The queue of one session. Its methods may be called from any thread.

    Args:
        client: makes a connection to the service.
        is_watched: whether the page is still open; nothing is started while it is not.
    """

    def __init__(self, client: Callable[[], Client], is_watched: Callable[[], bool] = lambda: True) -> None:
        self.entries: dict[str, Entry] = {}
        self.version = 0
        """Incremented whenever something starts, ends, is added or removed, so that the page knows when to redraw."""
        self.reachable = True
        self._client, self._is_watched = client, is_watched
        self._changed = threading.Condition(threading.RLock())
        self._threads: dict[Kind, int] = dict.fromkeys(MAX_RUNNING, 0)

    @property
    def pending(self) -> bool:
        """Whether any task waits or runs."""
        return any(task.pending for entry in self.listed() for task in entry.tasks)

    def listed(self) -> list[Entry]:
        """The photographs, in the order in which they were added."""
        with self._changed:
            return list(self.entries.values())

    def add(self, photograph: Photograph) -> None:
        """Classify a photograph, unless it has been added already."""
        with self._changed:
            if photograph.id not in self.entries:
                self.entries[photograph.id] = Entry(photograph)
                self._notify()

    def remove(self, *ids: str) -> None:
        """Forget photographs and cancel their tasks."""
        with self._changed:
            for entry in filter(None, [self.entries.pop(id, None) for id in ids]):
                for task in entry.tasks:
                    task.stop()
            self._notify()

    def explain(self, precision: Precision, *ids: str) -> None:
        """Explain those of the photographs that :meth:`Entry.can_be_explained`."""
        with self._changed:
            for entry in filter(None, map(self.entries.get, ids)):
                if entry.can_be_explained(precision):
                    before = entry.explanation.answer if entry.explanation is not None else None
                    entry.explanation = Task(precision, answer=before)
            self._notify()

    def stop(self, *ids: str) -> None:
        """Stop pending explanations of photographs."""
        with self._changed:
            for entry in filter(None, map(self.entries.get, ids)):
                if entry.explanation is not None:
                    entry.explanation.stop()
            self._notify()

    def retry(self, id: str) -> None:
        """Classify a photograph again whose diagnosis failed."""
        with self._changed:
            entry = self.entries.get(id)
            if entry is not None and entry.diagnosis.state == "failed":
                entry.diagnosis = Task()
                self._notify()

    def resume(self) -> None:
        """Go on where the queue paused because the page was not open. The page calls this whenever it is drawn."""
        with self._changed:
            for kind, most in MAX_RUNNING.items():
                waiting = sum(task.state == "waiting" for _, task in self._of_kind(kind))
                for _ in range(min(waiting, most - self._threads[kind])):
                    self._threads[kind] += 1
                    threading.Thread(target=self._run, args=(kind,), daemon=True).start()

    def _of_kind(self, kind: Kind) -> list[tuple[Entry, Task]]:
        tasks = ((entry, getattr(entry, kind)) for entry in self.entries.values())
        return [(entry, task) for entry, task in tasks if task is not None]

    def _notify(self) -> None:
        self.version += 1
        self._changed.notify_all()
        self.resume()

    def _run(self, kind: Kind) -> None:
        """Run waiting tasks until there are none, or the page is closed. A task fails with any error that it raises."""
        client = None
        with ExitStack() as stack:
            while (taken := self._take(kind)) is not None:
                entry, task = taken
                try:
                    client = client or stack.enter_context(self._client())  # it raises if the address is wrong
                    answer = self._ask(client, entry.photograph, task)
                    _ = entry.thumbnail  # here, so that drawing hundreds of photographs decodes none
                except _Stopped:
                    continue
                except Exception as error:
                    if not isinstance(error, ServiceError):
                        logging.getLogger("mlbio.frontend").exception("a photograph could not be processed")
                    self._end(task, error=error)
                else:
                    self._end(task, answer=answer)

    def _take(self, kind: Kind) -> tuple[Entry, Task] | None:
        with self._changed:
            if self._is_watched():
                for entry, task in self._of_kind(kind):
                    if task.state == "waiting":
                        task.state = "running"
                        self.version += 1
                        return entry, task
            self._threads[kind] -= 1
            return None

    def _ask(self, client: Client, photograph: Photograph, task: Task) -> Prediction:
        """The answer of the service, which is tried again while it is busy or unreachable.

        Raises:
            _Stopped: the task was stopped, or put back because the page is not open.
            ServiceError: there is no answer.
        """

        def report(share: float) -> None:
            if task.state != "running":
                raise _Stopped
            task.progress = share

        while True:
            try:
                return client.predict(
                    photograph.content,
                    explain=task.precision is not None,
                    precision=task.precision or DEFAULT_PRECISION,
                    on_progress=report,
                )
            except WrongAddress:  # waiting does not help
                raise
            except ServiceUnreachable:
                self._set_reachable(False)
                pause = 2.0
            except RequestRefused as error:
                if error.retry_after is None or not error.is_busy:
                    raise
                self._set_reachable(True)
                pause = error.retry_after
            self._pause(task, min(max(pause, 0.2), MAX_RETRY_SECONDS))

    def _set_reachable(self, reachable: bool) -> None:
        with self._changed:
            if reachable != self.reachable:
                self.reachable = reachable
                self.version += 1

    def _pause(self, task: Task, seconds: float) -> None:
        """Wait before a task is tried again; raise if it was stopped, or is put back because the page is not open."""
        until = time.monotonic() + seconds
        with self._changed:
            while task.state == "running" and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            if task.state == "running" and not self._is_watched():
                task.state = "waiting"
            if task.state != "running":
                raise _Stopped

    def _end(self, task: Task, answer: Prediction | None = None, error: Exception | None = None) -> None:
        with self._changed:
            self._set_reachable(True)
            if task.state != "running":
                return
            if answer is not None:
                task.answer = answer
            task.error = error
            task.state = "failed" if answer is None else "done"
            self._notify()
