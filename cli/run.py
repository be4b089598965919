"""One run of the command: each photograph is classified, its picture saved, its row written."""

from __future__ import annotations

import hashlib
import itertools
import math
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

import msgspec

from api.answer import Prediction
from api.client import Client
from api.service_errors import RequestRefused, ServiceError, ServiceUnreachable
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


@dataclass
class Task:
    """A photograph to classify, and what came of it.

    Attributes:
        number: in the order of the rows.
        picture: the file for its explanation, if one was asked for.
        row: to be written.
        unreachable: whether nothing answers at the service's address, which ends the run.
    """

    number: int
    photograph: Photograph
    picture: Path | None
    row: Row
    unreachable: bool = False


def run(options: Options, name: str) -> int:
    """Run with these options; returns the exit code. Messages begin with the program's ``name``.

    Raises:
        OSError: stdout cannot be written.
    """
    settings = {"explain": options.explain, "precision": options.precision, "overlay": options.overlay}
    try:
        with Journal(options.output, settings, options.resume) if options.output else nullcontext() as journal:
            return Run(options, journal, name).classify_all()
    except JournalError as error:
        print(f"{name}: {error}", file=sys.stderr, flush=True)
        return error.exit_code


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
        """Classify every photograph; returns the exit code.

        Raises:
            JournalError: the journal cannot be written.
        """
        write = writer(self.options.format, self.options.top, self.options.details)
        answered = 0
        with closing(self.progress), closing(in_order(self.classify, self._tasks(), self.options.jobs)) as done:
            for task in done:
                answered += 1
                if task.picture is not None:
                    self.names.release(task.picture)
                if self.journal is not None and not task.unreachable:
                    self.journal.add(task.row)
                self.progress.end(task.number)
                with self.progress.hidden():
                    write(task.row)
                if task.row.error is not None:
                    self._report(task.row.image, task.row.error)
                if task.unreachable:  # the others would fail in the same way
                    if self.journal is not None:
                        self._say("--resume continues from here")
                    break
        if not answered and not self._failed:
            self._report(", ".join(self.options.image[:3]), "there is nothing to classify")
        return 1 if self._failed else 0

    def classify(self, task: Task) -> Task:
        """Classify one photograph. Called from several threads."""
        photograph, row = task.photograph, task.row
        try:
            content = photograph.read()
            row.sha256 = hashlib.sha256(content).hexdigest()
            if self.journal is not None and (known := self.journal.find(photograph.name, row.sha256)):
                task.row = known
                return task
            answer = self._predict(task, content)
            # The pixels of an explanation are large, and needed for the picture only.
            row.answer = msgspec.structs.replace(answer, explain=None)
            if task.picture is not None:
                save(task.picture, photograph, content, answer, self.options.overlay)
                row.picture = str(task.picture)
        except (ServiceError, FileError) as error:
            row.error = str(error)
            if isinstance(error, ServiceUnreachable):
                task.unreachable = True
                self._unreachable.set()
        return task

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
        number = itertools.count()
        for photograph in find(self.options.image):
            if self._unreachable.is_set():
                return
            if photograph.skipped:
                self._say(f"{printable(photograph.name)}: left out, as it is the picture of an explanation")
                continue
            explain = self.options.explain and photograph.error is None
            picture = self.names.reserve(photograph) if explain else None
            yield Task(next(number), photograph, picture, Row(photograph.name))

    def _count(self) -> int | None:
        """How many photographs there are; None without a terminal, where nothing shows it."""
        return sum(not p.skipped for p in find(self.options.image)) if is_terminal(sys.stderr) else None

    def _report(self, name: str, error: str) -> None:
        self._failed = True
        self._say(f"{printable(name)}: {printable(error)}")

    def _say(self, text: str) -> None:
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        with self.progress.hidden():
            print(f"{self.name}: {text}", file=sys.stderr, flush=True)
