"""The queue behind the page, with a scripted service."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from api.answer import Prediction
from api.client import Client
from api.service_errors import AnswerInterrupted, RequestRefused, ServiceUnreachable, WrongAddress
from frontend.photographs import Photograph
from frontend.tasks import MAX_RUNNING, Entry, TaskQueue
from tests.unit.frontend.answers import answer, figures


class Service:
    """Every client of it runs ``behave(image, on_progress)`` and answers; ``most`` counts those at once."""

    def __init__(self, behave: Callable[..., None] = lambda image, on_progress: None) -> None:
        self.behave, self.asked, self.running, self.most = behave, [], 0, 0

    def __call__(self) -> Client:
        service = self

        class Scripted(Client):
            def predict(self, image, *, explain=False, precision="Moyenne", on_progress=None, **_) -> Prediction:
                service.asked.append((image, precision if explain else None))
                service.running += 1
                service.most = max(service.most, service.running)
                try:
                    service.behave(image, on_progress)
                finally:
                    service.running -= 1
                return answer(figures=figures(precision=precision) if explain else None)

        return Scripted("http://127.0.0.1:9")


def failing(*failures: Exception) -> Service:
    """A service that raises each of these, and then answers."""
    left = list(failures)

    def behave(image, on_progress) -> None:
        if left:
            raise left.pop()

    return Service(behave)


def holding(release: threading.Event) -> Callable[..., None]:
    """Reports progress again and again until it is released."""

    def behave(image: bytes, on_progress: Callable[[float], None]) -> None:
        while not release.wait(0.005):
            on_progress(0.4)

    return behave


def queue_of(service: Service, *names: str) -> TaskQueue:
    queue = TaskQueue(service)
    for name in names:
        queue.add(Photograph(name, f"{name}.jpg", name.encode()))
    return queue


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def settled(queue: TaskQueue) -> list[Entry]:
    until(lambda: not queue.pending)
    return queue.listed()


def test_photographs_are_classified_as_they_come_a_few_at_once_and_each_once():
    release = threading.Event()
    service = Service(lambda image, on_progress: release.wait(5))
    names = [str(number) for number in range(MAX_RUNNING["diagnosis"] + 3)]
    queue = queue_of(service, *names, "0")
    until(lambda: service.running == MAX_RUNNING["diagnosis"])
    release.set()
    assert [(e.photograph.id, e.diagnosis.state) for e in settled(queue)] == [(name, "done") for name in names]
    assert service.most == MAX_RUNNING["diagnosis"] and len(service.asked) == len(names)


def test_explanations_run_concurrently_and_report_progress():
    release = threading.Event()
    queue = queue_of(service := Service(), *"abc")
    settled(queue)
    service.behave = holding(release)
    queue.explain("Faible", *"abc")
    tasks = [e.explanation for e in queue.listed()]
    until(lambda: sum(t.progress == 0.4 for t in tasks) == MAX_RUNNING["explanation"])
    assert sorted(t.state for t in tasks) == ["running"] * MAX_RUNNING["explanation"] + ["waiting"]
    release.set()
    assert [e.figures.precision for e in settled(queue)] == ["Faible"] * 3


def test_a_done_explanation_is_not_asked_for_again_unless_by_another_precision():
    queue = queue_of(service := Service(), "a")
    for precision in ("Faible", "Faible", "Moyenne"):
        queue.explain(precision, "a")
        settled(queue)
    assert [precision for _, precision in service.asked if precision] == ["Faible", "Moyenne"]


@pytest.mark.parametrize("way", ["stop", "remove"])
def test_what_is_stopped_or_removed_is_cancelled_and_the_others_go_on(way: str):
    release = threading.Event()
    queue = queue_of(service := Service(), "a", "b")
    settled(queue)
    service.behave = holding(release)
    queue.explain("Moyenne", "a", "b")
    until(lambda: service.running == 2)
    tasks = [e.explanation for e in queue.listed()]
    getattr(queue, way)("a")
    until(lambda: service.running == 1)  # its connection is closed while the other is still at it
    assert [t.state for t in tasks] == ["stopped", "running"]
    release.set()
    settled(queue)
    assert [t.state for t in tasks] == ["stopped", "done"]
    assert len(queue.listed()) == (2 if way == "stop" else 1)


def test_an_explanation_stays_until_the_next_one_is_there():
    """Also where that is stopped, or fails."""
    queue = queue_of(service := Service(), "a")
    queue.explain("Faible", "a")
    (entry,) = settled(queue)
    first = entry.answer
    service.behave = holding(release := threading.Event())
    queue.explain("Moyenne", "a")
    assert entry.explanation.pending and entry.answer is first
    queue.stop("a")
    assert entry.answer is first
    assert entry.can_be_explained("Moyenne") and not entry.can_be_explained("Faible")

    def fail(image: bytes, on_progress: Callable[[float], None]) -> None:
        raise RequestRefused("a fault", 500)

    release.set()
    service.behave = fail
    queue.explain("Moyenne", "a")
    settled(queue)
    assert entry.explanation.state == "failed" and entry.answer is first


def test_a_photograph_that_could_not_be_classified_is_not_explained():
    queue = queue_of(failing(RequestRefused("not an image", 400)), "a")
    settled(queue)
    queue.explain("Faible", "a")
    (entry,) = settled(queue)
    assert entry.explanation is None and not entry.can_be_explained("Faible")


def test_a_busy_service_is_tried_again_after_the_pause_that_it_asks_for():
    queue = queue_of(failing(RequestRefused("full", 503, 0.0), RequestRefused("full", 429, 0.0)), "a")
    assert settled(queue)[0].diagnosis.state == "done"


@pytest.mark.parametrize(
    "error", [RequestRefused("the image is empty", 400), RequestRefused("full", 503), AnswerInterrupted("again")]
)
def test_other_failures_are_kept_and_can_be_tried_again(error: Exception):
    queue = queue_of(failing(error), "a")
    assert settled(queue)[0].diagnosis.error is error
    queue.retry("a")
    assert settled(queue)[0].diagnosis.state == "done"


def test_an_unreachable_service_is_waited_for():
    queue = queue_of(failing(ServiceUnreachable("no service")), "a")
    until(lambda: not queue.reachable)
    assert queue.pending
    assert settled(queue)[0].diagnosis.state == "done" and queue.reachable


def test_a_wrong_address_is_not_waited_for():
    queue = TaskQueue(lambda: Client("http://a..b"))
    for name in "abc":
        queue.add(Photograph(name, f"{name}.jpg", b"a"))
    assert {type(e.diagnosis.error) for e in settled(queue)} == {WrongAddress}
    assert settled(queue_of(failing(WrongAddress("use https://")), "a"))[0].diagnosis.state == "failed"


def test_nothing_is_started_while_the_page_is_closed():
    watched = False
    service = Service()
    queue = TaskQueue(service, lambda: watched)
    queue.add(Photograph("a", "a.jpg", b"a"))
    time.sleep(0.1)
    assert (service.asked, queue.pending) == ([], True)
    watched = True
    queue.resume()
    assert settled(queue)[0].diagnosis.state == "done"


def test_the_version_grows_whenever_there_is_something_new_to_draw():
    queue = queue_of(Service())
    versions = [queue.version]
    for change in (
        lambda: queue.add(Photograph("a", "a.jpg", b"a")),
        lambda: queue.explain("Faible", "a"),
        lambda: queue.remove("a"),
    ):
        change()
        settled(queue)
        versions.append(queue.version)
    assert versions == sorted(set(versions))


def test_any_exception_fails_the_task_and_the_others_go_on(caplog):
    """An address that cannot be encoded makes requests raise UnicodeError, for example."""
    errors = [UnicodeError("label too long") for _ in range(MAX_RUNNING["diagnosis"] + 1)]  # more than threads
    queue = queue_of(failing(*errors), *map(str, range(len(errors) + 1)))
    states = [e.diagnosis.state for e in settled(queue)]
    assert sorted(states) == ["done"] + ["failed"] * len(errors)
    assert "label too long" in caplog.text, "with its traceback in the log"
