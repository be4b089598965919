"""A run against a busy service."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from api.answer import Prediction
from api.client import Client
from api.service_errors import RequestRefused
from cli import run
from cli.arguments import parse
from tests.unit.api.test_client import ANSWER, chunked, response, serving


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


def test_an_explanation_whose_worker_died_is_asked_for_again(tmp_path: Path, capsys):
    """The stream has begun with status 200; its last line has that of the failure."""
    (tmp_path / "a.jpg").write_bytes(b"a photograph")
    lost = {"success": False, "error": "a worker was lost", "code": "unavailable", "status": 503, "retry_after": 0}
    with serving(*chunked({"progress": 0.5}, lost)) as server:
        server.script.append(lambda: server.script.__setitem__(slice(None), [response(ANSWER)]))
        options = ["--url", server.url, "--csv", str(tmp_path / "a.jpg")]
        assert run.run(parse(options), "client") == 0
        assert len(server.requests) == 2
    assert "Melanoma" in capsys.readouterr().out


def test_another_program_gets_one_photograph_and_is_reported_once(photographs: list[str], monkeypatch, capsys):
    monkeypatch.setattr(run, "Client", Client)
    with serving(response(b"<html>Welcome</html>")) as server:
        assert run.run(parse(["--url", server.url, *photographs]), "client") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "not an MLBIO service" in line and server.url in line
