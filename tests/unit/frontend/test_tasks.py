"""The queue behind the page, with a scripted service."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from api.answer import Prediction
from api.client import AnswerInterrupted, Client, RequestRefused, ServiceUnreachable
from frontend.photographs import Photograph
from frontend.tasks import MAX_RUNNING, Entry, TaskQueue

ANSWER = Prediction(prediction="Melanoma", probability=0.5)


class Service:
    """Every client of it runs ``behave(image, on_progress)`` and answers; ``most`` counts those at once."""

    def __init__(self, behave: Callable[..., None] = lambda image, on_progress: None) -> None:
        self.behave, self.asked, self.running, self.most = behave, [], 0, 0

    def __call__(self) -> Client:
        service = self

        class Scripted(Client):
            def predict(self, image, *, explain=False, precision="Moyenne", details=True, on_progress=None):
                service.asked.append((image, explain, precision))
                service.running += 1
                service.most = max(service.most, service.running)
                try:
                    service.behave(image, on_progress)
                finally:
                    service.running -= 1
                return ANSWER

        return Scripted("http://127.0.0.1:9")


def photograph(name: str = "a") -> Photograph:
    return Photograph(name, f"{name}.jpg", name.encode())


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def hold(release: threading.Event) -> Callable[..., None]:
    """Reports progress again and again until it is released."""

    def behave(image: bytes, on_progress: Callable[[float], None]) -> None:
        while not release.wait(0.005):
            on_progress(0.4)

    return behave


def settled(queue: TaskQueue) -> list[Entry]:
    until(lambda: not queue.pending)
    return queue.listed()


def test_photographs_are_classified_as_they_come_a_few_at_once():
    release = threading.Event()
    service = Service(lambda image, on_progress: release.wait(5))
    queue = TaskQueue(service)
    for number in range(MAX_RUNNING["diagnosis"] + 3):
        queue.add(photograph(str(number)))
    until(lambda: service.running == MAX_RUNNING["diagnosis"])
    release.set()
    assert {e.diagnosis.answer for e in settled(queue)} == {ANSWER}
    assert service.most == MAX_RUNNING["diagnosis"]


def test_the_same_photograph_is_classified_once():
    service = Service()
    queue = TaskQueue(service)
    queue.add(photograph())
    queue.add(photograph())
    assert len(settled(queue)) == len(service.asked) == 1


def test_explanations_run_concurrently_and_report_progress():
    release = threading.Event()
    service = Service()
    queue = TaskQueue(service)
    for name in "abc":
        queue.add(photograph(name))
    settled(queue)
    service.behave = hold(release)
    queue.explain("Faible", *"abc")
    tasks = [e.explanation for e in queue.listed()]
    until(lambda: sum(t.progress == 0.4 for t in tasks) == MAX_RUNNING["explanation"])
    assert sorted(t.state for t in tasks) == ["running"] * MAX_RUNNING["explanation"] + ["waiting"]
    release.set()
    settled(queue)
    assert [(t.state, t.precision) for t in tasks] == [("done", "Faible")] * 3
    assert service.asked[-1][1:] == (True, "Faible")


def test_a_done_explanation_is_not_asked_for_again_unless_by_another_precision():
    service = Service()
    queue = TaskQueue(service)
    queue.add(photograph())
    for precision in ("Faible", "Faible", "Moyenne"):
        queue.explain(precision, "a")
        settled(queue)
    assert [p for _, explain, p in service.asked if explain] == ["Faible", "Moyenne"]


@pytest.mark.parametrize("way", ["stop", "remove"])
def test_what_is_stopped_or_removed_is_cancelled_and_the_others_go_on(way: str):
    release = threading.Event()
    service = Service()
    queue = TaskQueue(service)
    for name in "ab":
        queue.add(photograph(name))
    settled(queue)
    service.behave = hold(release)
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
    queue = TaskQueue(service := Service())
    queue.add(photograph())
    queue.explain("Faible", "a")
    settled(queue)
    service.behave = hold(release := threading.Event())
    queue.explain("Moyenne", "a")
    (entry,) = queue.listed()
    assert entry.explanation.pending and entry.explanation.answer is ANSWER
    queue.stop("a")
    assert entry.answer is ANSWER and entry.can_be_explained("Moyenne")
    assert not entry.can_be_explained("Faible"), "it is there"

    def fail(image: bytes, on_progress: Callable[[float], None]) -> None:
        raise RequestRefused("a fault", 500)

    release.set()
    service.behave = fail
    queue.explain("Moyenne", "a")
    settled(queue)
    assert (entry.explanation.state, entry.explanation.answer) == ("failed", ANSWER)


def test_a_photograph_that_could_not_be_classified_is_not_explained():
    def refuse(image: bytes, on_progress: Callable[[float], None]) -> None:
        if image == b"b":
            raise RequestRefused("not an image", 400)

    queue = TaskQueue(service := Service(refuse))
    for name in "ab":
        queue.add(photograph(name))
    settled(queue)
    queue.explain("Faible", "a", "b")
    assert [e.explanation is not None for e in settled(queue)] == [True, False]
    assert [image for image, explain, _ in service.asked if explain] == [b"a"]
    assert not any(e.can_be_explained("Faible") for e in queue.listed())


def test_a_stopped_explanation_can_be_started_again():
    release = threading.Event()
    service = Service(hold(release))
    queue = TaskQueue(service)
    queue.add(photograph())
    queue.explain("Moyenne", "a")
    queue.stop("a")
    assert queue.listed()[0].explanation.state == "stopped"
    release.set()
    queue.explain("Moyenne", "a")
    assert settled(queue)[0].explanation.state == "done"


def test_a_busy_service_is_tried_again_after_the_pause_that_it_asks_for():
    refusals = [RequestRefused("full", 503, 0.0), RequestRefused("full", 429, 0.0)]

    def behave(image, on_progress):
        if refusals:
            raise refusals.pop()

    queue = TaskQueue(Service(behave))
    queue.add(photograph())
    assert settled(queue)[0].diagnosis.state == "done" and not refusals


@pytest.mark.parametrize(
    "error", [RequestRefused("the image is empty", 400), RequestRefused("full", 503), AnswerInterrupted("again")]
)
def test_other_failures_are_kept_and_can_be_tried_again(error: Exception):
    failures = [error]

    def behave(image, on_progress):
        if failures:
            raise failures.pop()

    queue = TaskQueue(Service(behave))
    queue.add(photograph())
    assert settled(queue)[0].diagnosis.error is error
    queue.retry("a")
    assert settled(queue)[0].diagnosis.answer is ANSWER


def test_an_unreachable_service_is_waited_for():
    failures = [ServiceUnreachable("no service")]

    def behave(image, on_progress):
        if failures:
            raise failures.pop()

    queue = TaskQueue(Service(behave))
    queue.add(photograph())
    until(lambda: not queue.reachable)
    assert queue.pending
    assert settled(queue)[0].diagnosis.state == "done" and queue.reachable


def test_nothing_is_started_while_the_page_is_closed():
    watched = False
    service = Service()
    queue = TaskQueue(service, lambda: watched)
    queue.add(photograph())
    until(lambda: queue._threads == {"diagnosis": 0, "explanation": 0})
    assert (service.asked, queue.pending) == ([], True)
    watched = True
    queue.resume()
    assert settled(queue)[0].diagnosis.state == "done"


def test_the_version_grows_whenever_there_is_something_new_to_draw():
    queue = TaskQueue(Service())
    versions = [queue.version]
    queue.add(photograph())
    settled(queue)
    versions.append(queue.version)
    queue.explain("Faible", "a")
    settled(queue)
    versions.append(queue.version)
    queue.remove("a")
    versions.append(queue.version)
    assert versions == sorted(set(versions))


def test_any_exception_fails_the_task_and_the_others_go_on(caplog):
    """An address that cannot be encoded makes requests raise UnicodeError, for example."""

    def fail(image: bytes, on_progress: Callable[[float], None]) -> None:
        if image != b"good":
            raise UnicodeError("label too long")

    queue = TaskQueue(Service(fail))
    for name in [*map(str, range(MAX_RUNNING["diagnosis"] + 1)), "good"]:  # more than there are threads
        queue.add(photograph(name))
    *failed, good = settled(queue)
    assert {(e.diagnosis.state, type(e.diagnosis.error)) for e in failed} == {("failed", UnicodeError)}
    assert good.diagnosis.answer is ANSWER
    assert "label too long" in caplog.text, "with its traceback in the log"
