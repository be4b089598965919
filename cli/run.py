"""One run of the command: every photograph asked about, its picture saved, its row written."""

from __future__ import annotations

import hashlib
import math
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from api.client import Client, RequestRefused, ServiceError, ServiceUnreachable
from api.contract import Prediction
from cli.arguments import Options
from cli.jobs import in_order
from cli.journal import Journal, JournalError
from cli.output import Row, writer
from cli.photographs import FileError, Photograph, find
from cli.pictures import Names, save
from cli.progress import Progress, is_terminal, printable

BUSY_SECONDS = 60.0
"""Longest time that a photograph waits for its turn while the service answers none of the run."""

LONGEST_PAUSE = 10.0
"""Seconds: a busy service is tried again at least this often, unless it asks for more patience."""


@dataclass(frozen=True)
class Task:
    """A photograph on its way; ``picture`` is where its explanation goes, if there is to be one."""

    number: int
    photograph: Photograph
    picture: Path | None


@dataclass(frozen=True)
class Outcome:
    """A row, and whether it ends the run (``unreachable``) or comes from the journal (``old``)."""

    task: Task
    row: Row
    unreachable: bool = False
    old: bool = False


def run(options: Options, name: str) -> int:
    """Do what ``options`` ask for; returns the exit code. Messages begin with the program's ``name``.

    Raises:
        OSError: stdout cannot be written.
    """
    journal = None
    if options.output is not None:
        settings = {"explain": options.explain, "precision": options.precision, "overlay": options.overlay}
        try:
            journal = Journal(options.output, settings, options.resume)
        except JournalError as error:
            return _complain(name, str(error), 2)
        except OSError as error:
            return _complain(name, f"{options.output} cannot be written ({error.strerror}): choose another --output", 2)
    try:
        return Run(options, journal, name).all()
    finally:
        if journal is not None:
            journal.close()


class Run:
    """The state that the photographs of a run share."""

    def __init__(self, options: Options, journal: Journal | None, name: str) -> None:
        self.options, self.journal, self.name = options, journal, name
        self.names = Names(options.output)
        self.progress = Progress(self._count())
        self._clients = threading.local()  # a client serves one thread
        self._unreachable = threading.Event()
        self._answered = time.monotonic()
        self._failed = False

    def all(self) -> int:
        """Every photograph; returns the exit code."""
        write = writer(self.options.form, self.options.top, self.options.details)
        answered = 0
        with closing(self.progress), closing(in_order(self.ask, self._tasks(), self.options.jobs)) as outcomes:
            for outcome in outcomes:
                if outcome.task.picture is not None:
                    self.names.release(outcome.task.picture)
                self.progress.end(outcome.task.number)
                self.progress.clear()
                answered += 1
                if self.journal is not None and not outcome.old and not outcome.unreachable:
                    try:
                        self.journal.add(outcome.row)
                    except OSError as error:
                        return _complain(self.name, f"{self.journal.path} cannot be written ({error.strerror})", 1)
                write(outcome.row)
                if outcome.row.error is not None:
                    self._failure(outcome.row.image, outcome.row.error)
                if outcome.unreachable:  # nor would it be for the others
                    if self.journal is not None:
                        print(f"{self.name}: --resume goes on from here", file=sys.stderr, flush=True)
                    break
        if not answered and not self._failed:
            self._failure(", ".join(self.options.image[:3]), "there is nothing to classify")
        return 1 if self._failed else 0

    def ask(self, task: Task) -> Outcome:
        """The outcome for one photograph. Several threads call this."""
        photograph = task.photograph
        row = Row(photograph.name)
        try:
            if photograph.error is not None:
                raise FileError(photograph.error)
            content = photograph.read()
            row.sha256 = hashlib.sha256(content).hexdigest()
            if self.journal is not None and (old := self.journal.find(photograph.name, row.sha256)):
                return Outcome(task, old, old=True)
            answer = self._predict(task, content)
            # The pixels of an explanation are large, so they go no further than the picture.
            row.answer = msgspec.structs.replace(answer, explain=None)
            if task.picture is not None:
                save(task.picture, photograph, content, answer, self.options.overlay)
                row.picture = str(task.picture)
        except ServiceUnreachable as error:
            row.error = str(error)
            self._unreachable.set()
            return Outcome(task, row, unreachable=True)
        except (ServiceError, FileError) as error:
            row.error = str(error)
        return Outcome(task, row)

    def _predict(self, task: Task, content: bytes) -> Prediction:
        """Ask the service, again if it has too much to do."""
        if not hasattr(self._clients, "client"):
            self._clients.client = Client(self.options.url)
        name = task.photograph.name
        self.progress.show(task.number, name)
        asked = time.monotonic()
        latest = asked + (self.options.timeout or math.inf)
        pause = 0.5
        while True:
            try:
                answer: Prediction = self._clients.client.predict(
                    content,
                    explain=self.options.explain,
                    precision=self.options.precision,
                    on_progress=lambda share: self.progress.show(task.number, name, share),
                    timeout=None if latest == math.inf else max(latest - time.monotonic(), 0.001),
                )
                self._answered = time.monotonic()
                return answer
            except RequestRefused as error:
                pause = max(min(pause * 2, LONGEST_PAUSE), error.retry_after or 0)
                patient_until = min(latest, max(asked, self._answered) + BUSY_SECONDS)
                if not error.is_busy or time.monotonic() + pause > patient_until:
                    raise
                time.sleep(pause)

    def _tasks(self) -> Iterator[Task]:
        number = 0
        for photograph in find(self.options.image):
            if self._unreachable.is_set():
                return
            if photograph.skipped:
                self.progress.clear()
                text = f"{printable(photograph.name)}: left out, as it is the picture of an explanation"
                print(f"{self.name}: {text}", file=sys.stderr, flush=True)
                continue
            wanted = self.options.explain and photograph.error is None
            yield Task(number, photograph, self.names.reserve(photograph) if wanted else None)
            number += 1

    def _count(self) -> int | None:
        """How many photographs there are, where a terminal shows it."""
        return sum(not p.skipped for p in find(self.options.image)) if is_terminal(sys.stderr) else None

    def _failure(self, name: str, error: str) -> None:
        self._failed = True
        text = f"{self.name}: {printable(name)}: {printable(error)}"
        print(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"), file=sys.stderr, flush=True)


def _complain(name: str, text: str, code: int) -> int:
    print(f"{name}: {text}", file=sys.stderr, flush=True)
    return code
