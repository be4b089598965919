"""Progress, deadlines and leaving early, through the real service."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import requests

from tests.conftest import encode
from tests.e2e.conftest import Service

NDJSON = {"accept": "application/x-ndjson"}


@pytest.fixture
def photograph(example_images: list[Path]) -> str:
    return encode(example_images[0].read_bytes())


def ask(service: Service, photograph: str, precision: str, headers: dict | None = None, **options) -> requests.Response:
    body = {"image": photograph, "explain": True, "precision": precision, "details": True}
    return service.predict(body, headers=headers, **options)


def test_progress_comes_as_lines_and_the_answer_last(service: Service, photograph: str):
    with ask(service, photograph, "Faible", NDJSON, stream=True) as response:
        assert response.status_code == 200 and response.headers["content-type"].startswith("application/x-ndjson")
        seen = [(time.monotonic(), json.loads(line)) for line in response.iter_lines()]
    *progress, (_, answer) = seen
    shares = [line["progress"] for _, line in progress]
    assert all(list(line) == ["progress"] for _, line in progress)
    assert shares == sorted(shares) and shares[0] == 0 and 0.1 < shares[-1] <= 1 and len(shares) > 4
    assert progress[-1][0] - progress[0][0] > 0.1, "they come one by one"
    plain = ask(service, photograph, "Faible").json()
    for each in (answer, plain):
        each["details"]["explanation"].pop("seconds")
    assert answer == plain


def test_a_deadline_gives_the_best_so_far(service: Service, endless: str):
    started = time.monotonic()
    answer = ask(service, endless, "Importante", {"prefer": "wait=1"}).json()
    assert time.monotonic() - started < 20
    explanation = answer["details"]["explanation"]
    assert explanation["stopped"] == "deadline" and 32 <= explanation["samples"] < 4096
    assert len(answer["explain"]) == 224
    assert explanation["reached"] is False


@pytest.mark.parametrize("headers", [NDJSON, None], ids=["while it streams", "while it waits"])
def test_leaving_stops_the_work(service: Service, photograph: str, endless: str, headers: dict | None):
    """The next explanation does not wait for one that nobody wants any more."""
    if headers:
        with ask(service, endless, "Importante", headers, stream=True) as response:
            assert json.loads(next(response.iter_lines()))["progress"] == 0
    else:
        with pytest.raises(requests.Timeout):
            ask(service, endless, "Importante", timeout=0.5)
    # One that went on would take more than twice as long as this one gets: six seconds, and ten until it is given up.
    assert ask(service, photograph, "Faible", {"prefer": "wait=6"}).status_code == 200
