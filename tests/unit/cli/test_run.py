"""A run against a busy service."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from api.answer import Prediction
from api.client import RequestRefused
from cli import run
from cli.arguments import parse


class Service:
    """A client's stand-in with one place for all; ``answers`` of False keeps it busy for ever."""

    place = threading.Lock()
    answers = True

    def __init__(self, url: str) -> None:
        pass

    def predict(self, content: bytes, **_: object) -> Prediction:
        if not self.answers or not self.place.acquire(blocking=False):
            raise RequestRefused("too many explanations at once: try again in a moment", 503)
        try:
            time.sleep(0.05)
        finally:
            self.place.release()
        return Prediction(prediction="Melanoma", probability=0.5)


@pytest.fixture
def photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(run, "Client", Service)
    monkeypatch.setattr(run, "BUSY_SECONDS", 0.4)
    monkeypatch.setattr(run, "MAX_PAUSE", 0.02)
    files = [tmp_path / f"{number}.jpg" for number in range(20)]
    for file in files:
        file.write_bytes(file.name.encode())
    return [str(file) for file in files]


def test_more_jobs_than_the_service_has_places_all_get_their_turn(photographs: list[str], capsys):
    """However long that takes, as long as it answers any of them."""
    assert run.run(parse(["--jobs", "20", *photographs]), "client") == 0
    assert capsys.readouterr().out.count("Melanoma") == 20


def test_a_service_that_stays_busy_is_given_up(photographs: list[str], capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Service, "answers", False)
    started = time.monotonic()
    assert run.run(parse(["--jobs", "20", *photographs]), "client") == 1
    assert time.monotonic() - started < 5
    assert capsys.readouterr().err.count("try again in a moment") == 20


def test_no_photograph_takes_longer_than_the_timeout(photographs: list[str], capsys):
    """Waiting for its turn is part of that."""
    started = time.monotonic()
    assert run.run(parse(["--jobs", "20", "--timeout", "0.3", *photographs]), "client") == 1
    assert time.monotonic() - started < 0.9  # all of them take a second
    assert 0 < capsys.readouterr().out.count("Melanoma") < 20
