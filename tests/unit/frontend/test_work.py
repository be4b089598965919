"""The queue behind the page, with a service that answers as it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from api.answer import Prediction
from api.client import AnswerInterrupted, Client, RequestRefused, ServiceUnreachable
from frontend.photographs import Photograph
from frontend.work import CLASSIFYING, EXPLAINING, Entry, Work

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


def settled(work: Work) -> list[Entry]:
    until(lambda: not work.pending)
    return work.listed()


def test_photographs_are_classified_as_they_come_a_few_at_once():
    release = threading.Event()
    service = Service(lambda image, on_progress: release.wait(5))
    work = Work(service)
    for number in range(CLASSIFYING + 3):
        work.add(photograph(str(number)))
    until(lambda: service.running == CLASSIFYING)
    release.set()
    assert {e.diagnosis.answer for e in settled(work)} == {ANSWER}
    assert service.most == CLASSIFYING


def test_the_same_photograph_is_classified_once():
    service = Service()
    work = Work(service)
    work.add(photograph())
    work.add(photograph())
    assert len(settled(work)) == len(service.asked) == 1


def test_explanations_run_beside_diagnoses_and_tell_how_far_they_are():
    release = threading.Event()
    service = Service()
    work = Work(service)
    for name in "abc":
        work.add(photograph(name))
    settled(work)
    service.behave = hold(release)
    work.explain("Faible", *"abc")
    tasks = [e.explanation for e in work.listed()]
    until(lambda: sum(t.progress == 0.4 for t in tasks) == EXPLAINING)
    assert sorted(t.state for t in tasks) == ["running"] * EXPLAINING + ["waiting"]
    release.set()
    settled(work)
    assert [(t.state, t.precision) for t in tasks] == [("done", "Faible")] * 3
    assert service.asked[-1][1:] == (True, "Faible")


def test_a_done_explanation_is_not_asked_for_again_unless_by_another_precision():
    service = Service()
    work = Work(service)
    work.add(photograph())
    for precision in ("Faible", "Faible", "Moyenne"):
        work.explain(precision, "a")
        settled(work)
    assert [p for _, explain, p in service.asked if explain] == ["Faible", "Moyenne"]


@pytest.mark.parametrize("way", ["stop", "remove"])
def test_what_nobody_wants_any_more_is_cancelled_and_the_others_go_on(way: str):
    release = threading.Event()
    service = Service()
    work = Work(service)
    for name in "ab":
        work.add(photograph(name))
    settled(work)
    service.behave = hold(release)
    work.explain("Moyenne", "a", "b")
    until(lambda: service.running == 2)
    tasks = [e.explanation for e in work.listed()]
    getattr(work, way)("a")
    until(lambda: service.running == 1)  # its connection is closed while the other is still at it
    assert [t.state for t in tasks] == ["stopped", "running"]
    release.set()
    settled(work)
    assert [t.state for t in tasks] == ["stopped", "done"]
    assert len(work.listed()) == (2 if way == "stop" else 1)


def test_an_explanation_stays_until_the_next_one_is_there():
    """Also where that is stopped, or fails."""
    work = Work(service := Service())
    work.add(photograph())
    work.explain("Faible", "a")
    settled(work)
    service.behave = hold(release := threading.Event())
    work.explain("Moyenne", "a")
    (entry,) = work.listed()
    assert entry.explanation.pending and entry.explanation.answer is ANSWER
    work.stop("a")
    assert entry.answer is ANSWER and entry.can_be_explained("Moyenne")
    assert not entry.can_be_explained("Faible"), "it is there"

    def fail(image: bytes, on_progress: Callable[[float], None]) -> None:
        raise RequestRefused("a fault", 500)

    release.set()
    service.behave = fail
    work.explain("Moyenne", "a")
    settled(work)
    assert (entry.explanation.state, entry.explanation.answer) == ("failed", ANSWER)


def test_a_photograph_that_could_not_be_classified_is_not_explained():
    def refuse(image: bytes, on_progress: Callable[[float], None]) -> None:
        if image == b"b":
            raise RequestRefused("not an image", 400)

    work = Work(service := Service(refuse))
    for name in "ab":
        work.add(photograph(name))
    settled(work)
    work.explain("Faible", "a", "b")
    assert [e.explanation is not None for e in settled(work)] == [True, False]
    assert [image for image, explain, _ in service.asked if explain] == [b"a"]
    assert not any(e.can_be_explained("Faible") for e in work.listed())


def test_a_stopped_explanation_can_be_started_again():
    release = threading.Event()
    service = Service(hold(release))
    work = Work(service)
    work.add(photograph())
    work.explain("Moyenne", "a")
    work.stop("a")
    assert work.listed()[0].explanation.state == "stopped"
    release.set()
    work.explain("Moyenne", "a")
    assert settled(work)[0].explanation.state == "done"


def test_a_full_service_is_tried_again_when_it_asks_to_be():
    refusals = [RequestRefused("full", 503, 0.0), RequestRefused("full", 429, 0.0)]

    def behave(image, on_progress):
        if refusals:
            raise refusals.pop()

    work = Work(Service(behave))
    work.add(photograph())
    assert settled(work)[0].diagnosis.state == "done" and not refusals


@pytest.mark.parametrize(
    "error", [RequestRefused("the image is empty", 400), RequestRefused("full", 503), AnswerInterrupted("again")]
)
def test_other_failures_are_kept_and_can_be_tried_again(error: Exception):
    failures = [error]

    def behave(image, on_progress):
        if failures:
            raise failures.pop()

    work = Work(Service(behave))
    work.add(photograph())
    assert settled(work)[0].diagnosis.error is error
    work.retry("a")
    assert settled(work)[0].diagnosis.answer is ANSWER


def test_a_service_that_is_not_there_is_waited_for():
    failures = [ServiceUnreachable("no service")]

    def behave(image, on_progress):
        if failures:
            raise failures.pop()

    work = Work(Service(behave))
    work.add(photograph())
    until(lambda: not work.reachable)
    assert work.pending
    assert settled(work)[0].diagnosis.state == "done" and work.reachable


def test_nothing_is_begun_while_nobody_watches():
    watched = False
    service = Service()
    work = Work(service, lambda: watched)
    work.add(photograph())
    until(lambda: work._threads == {True: 0, False: 0})
    assert (service.asked, work.pending) == ([], True)
    watched = True
    work.resume()
    assert settled(work)[0].diagnosis.state == "done"


def test_the_version_grows_whenever_there_is_something_new_to_draw():
    work = Work(Service())
    versions = [work.version]
    work.add(photograph())
    settled(work)
    versions.append(work.version)
    work.explain("Faible", "a")
    settled(work)
    versions.append(work.version)
    work.remove("a")
    versions.append(work.version)
    assert versions == sorted(set(versions))
