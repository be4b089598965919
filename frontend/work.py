"""A session's photographs and what is being done about them, in threads that no click ends.

Streamlit runs the page's script again after every click, and ends the run that is under way. So nothing is asked of the
service there: the script adds photographs to a :class:`Work`, asks for explanations, and draws what there is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from api.answer import Prediction
from api.client import Client, RequestRefused, ServiceError, ServiceUnreachable
from api.request import DEFAULT_PRECISION, Precision
from frontend.photographs import Photograph
from frontend.thumbnails import icon

State = Literal["waiting", "running", "done", "failed", "stopped"]

CLASSIFYING, EXPLAINING = 4, 2
"""Most requests at once of a session: enough to keep the service busy, too few to keep others out."""

LONGEST_PAUSE = 30.0
"""Seconds: a service that is full or away is tried again at least this often."""


@dataclass
class Task:
    """A diagnosis or an explanation of one photograph.

    Attributes:
        precision: of the explanation; None for a diagnosis alone.
        progress: finished share, 0 to 1.
        answer: what the service answered, once ``state`` is done; that of an earlier explanation until then.
        answered: the precision of ``answer``.
        error: why there is no answer, once ``state`` is failed.
    """

    precision: Precision | None = None
    state: State = "waiting"
    progress: float = 0.0
    answer: Prediction | None = None
    answered: Precision | None = None
    error: ServiceError | None = None

    @property
    def pending(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ("waiting", "running")


@dataclass
class Entry:
    """A photograph with its diagnosis and, if it was asked for, its explanation.

    Attributes:
        views: HTML that has been made of it, by kind and language, with the answer that it was made of: the page is
            drawn anew after every click.
    """

    photograph: Photograph
    diagnosis: Task = field(default_factory=Task)
    explanation: Task | None = None
    views: dict[tuple[str, str], tuple[Prediction | None, str]] = field(default_factory=dict, repr=False)

    @cached_property
    def icon(self) -> str | None:
        """A thumbnail for the table, as a ``data:`` address; None where the file cannot be decoded."""
        return icon(self.photograph.content)

    @property
    def answer(self) -> Prediction | None:
        """The best answer so far: an explanation comes with the diagnosis."""
        if self.explanation is not None and self.explanation.answer is not None:
            return self.explanation.answer
        return self.diagnosis.answer

    def can_be_explained(self, precision: Precision) -> bool:
        """Whether there is no explanation of this precision, none under way, and a diagnosis to be explained."""
        task = self.explanation
        if self.diagnosis.state == "failed" or (task is not None and task.pending):
            return False
        return task is None or task.answered != precision


class _Stopped(Exception):
    """Nobody waits for the answer any more. Raised while it is read, it closes the connection, which cancels."""


class Work:
    """The queue of one session. Its methods may be called from any thread.

    Args:
        client: makes a connection to the service.
        is_watched: whether somebody still looks at the page; what waits is not begun while nobody does.
    """

    def __init__(self, client: Callable[[], Client], is_watched: Callable[[], bool] = lambda: True) -> None:
        self.entries: dict[str, Entry] = {}
        self.version = 0
        """Grows whenever something begins, ends, comes or goes, so that the page knows when to draw itself anew."""
        self.reachable = True
        self._client, self._is_watched = client, is_watched
        self._changed = threading.Condition(threading.RLock())
        self._threads = {True: 0, False: 0}

    @property
    def pending(self) -> bool:
        """Whether anything waits or runs."""
        return any(t.pending for e in self.listed() for t in (e.diagnosis, e.explanation) if t is not None)

    def listed(self) -> list[Entry]:
        """The photographs, in the order in which they came."""
        with self._changed:
            return list(self.entries.values())

    def add(self, photograph: Photograph) -> None:
        """Classify a photograph, unless it is here already."""
        with self._changed:
            if photograph.id not in self.entries:
                self.entries[photograph.id] = Entry(photograph)
                self._notify()

    def remove(self, *ids: str) -> None:
        """Forget photographs; what runs for them is cancelled."""
        with self._changed:
            for entry in filter(None, (self.entries.pop(i, None) for i in ids)):
                _stop(entry.diagnosis)
                _stop(entry.explanation)
            self._notify()

    def explain(self, precision: Precision, *ids: str) -> None:
        """Explain photographs, also again; only those that :meth:`Entry.can_be_explained`."""
        with self._changed:
            for entry in filter(None, map(self.entries.get, ids)):
                if entry.can_be_explained(precision):
                    before = entry.explanation or Task()
                    entry.explanation = Task(precision, answer=before.answer, answered=before.answered)
            self._notify()

    def stop(self, *ids: str) -> None:
        """Stop the explanations of photographs that wait or run."""
        with self._changed:
            for entry in filter(None, map(self.entries.get, ids)):
                _stop(entry.explanation)
            self._notify()

    def retry(self, id: str) -> None:
        """Classify a photograph again whose diagnosis failed."""
        with self._changed:
            entry = self.entries.get(id)
            if entry is not None and entry.diagnosis.state == "failed":
                entry.diagnosis = Task()
                self._notify()

    def resume(self) -> None:
        """Go on where the work paused because nobody watched. The page calls this whenever it is drawn."""
        with self._changed:
            for explains, most in ((False, CLASSIFYING), (True, EXPLAINING)):
                waiting = sum(t.state == "waiting" for t in self._tasks(explains))
                for _ in range(min(waiting, most - self._threads[explains])):
                    self._threads[explains] += 1
                    threading.Thread(target=self._run, args=(explains,), daemon=True).start()

    def _tasks(self, explains: bool) -> list[Task]:
        both = ((e.explanation if explains else e.diagnosis) for e in self.entries.values())
        return [task for task in both if task is not None]

    def _notify(self) -> None:
        self.version += 1
        self._changed.notify_all()
        self.resume()

    def _run(self, explains: bool) -> None:
        """Work on what waits until there is no more, or nobody watches."""
        with self._client() as client:
            while (taken := self._take(explains)) is not None:
                entry, task = taken
                self._ask(client, entry.photograph, task)
                _ = entry.icon  # made here, so that drawing hundreds of photographs decodes none

    def _take(self, explains: bool) -> tuple[Entry, Task] | None:
        with self._changed:
            if self._is_watched():
                for entry in self.entries.values():
                    task = entry.explanation if explains else entry.diagnosis
                    if task is not None and task.state == "waiting":
                        task.state = "running"
                        self.version += 1
                        return entry, task
            self._threads[explains] -= 1
            return None

    def _ask(self, client: Client, photograph: Photograph, task: Task) -> None:
        def report(share: float) -> None:
            if task.state != "running":
                raise _Stopped
            task.progress = share

        while True:
            try:
                answer = client.predict(
                    photograph.content,
                    explain=task.precision is not None,
                    precision=task.precision or DEFAULT_PRECISION,
                    on_progress=report,
                )
            except _Stopped:
                return
            except ServiceUnreachable:
                self._tell(reachable=False)
                pause = 2.0
            except RequestRefused as error:
                if error.retry_after is None or not error.is_busy:
                    return self._end(task, error=error)
                self._tell(reachable=True)
                pause = error.retry_after
            except ServiceError as error:
                return self._end(task, error=error)
            else:
                return self._end(task, answer=answer)
            if not self._waited(task, min(max(pause, 0.2), LONGEST_PAUSE)):
                return None

    def _tell(self, reachable: bool) -> None:
        with self._changed:
            if reachable != self.reachable:
                self.reachable = reachable
                self.version += 1

    def _waited(self, task: Task, seconds: float) -> bool:
        """Wait before a task is tried again; False where it was stopped, or put back because nobody watches."""
        until = time.monotonic() + seconds
        with self._changed:
            while task.state == "running" and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            if task.state == "running" and not self._is_watched():
                task.state = "waiting"
            return task.state == "running"

    def _end(self, task: Task, answer: Prediction | None = None, error: ServiceError | None = None) -> None:
        with self._changed:
            self._tell(reachable=True)
            if task.state != "running":
                return
            if answer is not None:
                task.answer, task.answered = answer, task.precision
            task.error = error
            task.state = "failed" if answer is None else "done"
            self._notify()


def _stop(task: Task | None) -> None:
    if task is not None and task.pending:
        task.state = "stopped"
