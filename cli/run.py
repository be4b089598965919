"""One run of the command: each photograph is classified, its picture saved, its row written."""

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

from api.answer import Prediction
from api.client import Client, RequestRefused, ServiceError, ServiceUnreachable
from cli.arguments import Options
from cli.jobs import in_order
from cli.journal import Journal, JournalError
from cli.output import Row, writer
from cli.photographs import FileError, Photograph, find
from cli.pictures import Names, save
from cli.terminal import Progress, is_terminal, printable

BUSY_SECONDS = 60.0
"""How long a photograph is tried again while the service is busy and answers no request of this run."""

MAX_PAUSE = 10.0
"""Longest pause between two attempts, in seconds, unless the service asks for a longer one."""


@dataclass(frozen=True)
class Task:
    """A photograph to classify; ``picture`` is the file for its explanation, if one was asked for."""

    number: int
    photograph: Photograph
    picture: Path | None


@dataclass(frozen=True)
class Outcome:
    """A row, and whether it ends the run (``unreachable``) or is an earlier run's (``from_journal``)."""

    task: Task
    row: Row
    unreachable: bool = False
    from_journal: bool = False


def run(options: Options, name: str) -> int:
    """Run with these options; returns the exit code. Messages begin with the program's ``name``.

    Raises:
        OSError: stdout cannot be written.
    """
    journal = None
    if options.output is not None:
        settings = {"explain": options.explain, "precision": options.precision, "overlay": options.overlay}
        try:
            journal = Journal(options.output, settings, options.resume)
        except JournalError as error:
            return _fail(name, str(error), 2)
        except OSError as error:
            return _fail(name, f"{options.output} cannot be written ({error.strerror}): choose another --output", 2)
    try:
        return Run(options, journal, name).classify_all()
    finally:
        if journal is not None:
            journal.close()


class Run:
    """What the photographs of a run share."""

    def __init__(self, options: Options, journal: Journal | None, name: str) -> None:
        self.options, self.journal, self.name = options, journal, name
        self.names = Names(options.output)
        self.progress = Progress(self._count())
        self._clients = threading.local()  # a client is not thread-safe
        self._unreachable = threading.Event()
        self._last_answer = time.monotonic()
        self._failed = False

    def classify_all(self) -> int:
        """Classify every photograph; returns the exit code."""
        write = writer(self.options.format, self.options.top, self.options.details)
        answered = 0
        with closing(self.progress), closing(in_order(self.classify, self._tasks(), self.options.jobs)) as outcomes:
            for outcome in outcomes:
                if outcome.task.picture is not None:
                    self.names.release(outcome.task.picture)
                self.progress.end(outcome.task.number)
                self.progress.clear()
                answered += 1
                if self.journal is not None and not outcome.from_journal and not outcome.unreachable:
                    try:
                        self.journal.add(outcome.row)
                    except OSError as error:
                        return _fail(self.name, f"{self.journal.path} cannot be written ({error.strerror})", 1)
                write(outcome.row)
                if outcome.row.error is not None:
                    self._report(outcome.row.image, outcome.row.error)
                if outcome.unreachable:  # the others would fail in the same way
                    if self.journal is not None:
                        print(f"{self.name}: --resume continues from here", file=sys.stderr, flush=True)
                    break
        if not answered and not self._failed:
            self._report(", ".join(self.options.image[:3]), "there is nothing to classify")
        return 1 if self._failed else 0

    def classify(self, task: Task) -> Outcome:
        """Classify one photograph. Called from several threads."""
        photograph = task.photograph
        row = Row(photograph.name)
        try:
            if photograph.error is not None:
                raise FileError(photograph.error)
            content = photograph.read()
            row.sha256 = hashlib.sha256(content).hexdigest()
            if self.journal is not None and (known := self.journal.find(photograph.name, row.sha256)):
                return Outcome(task, known, from_journal=True)
            answer = self._predict(task, content)
            # The pixels of an explanation are large, and needed for the picture only.
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
        """Ask the service, and try again while it is busy."""
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
                self._last_answer = time.monotonic()
                return answer
            except RequestRefused as error:
                pause = max(min(pause * 2, MAX_PAUSE), error.retry_after or 0)
                give_up_at = min(latest, max(asked, self._last_answer) + BUSY_SECONDS)
                if not error.is_busy or time.monotonic() + pause > give_up_at:
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
            explain = self.options.explain and photograph.error is None
            yield Task(number, photograph, self.names.reserve(photograph) if explain else None)
            number += 1

    def _count(self) -> int | None:
        """How many photographs there are; None without a terminal, where nothing shows it."""
        return sum(not p.skipped for p in find(self.options.image)) if is_terminal(sys.stderr) else None

    def _report(self, name: str, error: str) -> None:
        self._failed = True
        text = f"{self.name}: {printable(name)}: {printable(error)}"
        print(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"), file=sys.stderr, flush=True)


def _fail(name: str, text: str, code: int) -> int:
    print(f"{name}: {text}", file=sys.stderr, flush=True)
    return code
