"""A request's deadline, progress and cancellation."""

from __future__ import annotations

import os
import tempfile
import uuid
from pathlib import Path

import pytest

from api.deadline import Deadline
from handler.jobs import Cancelled, Job, cancel


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_headers_are_read():
    reported, job_id = [], uuid.uuid4().hex
    headers = {"x-mlbio-job": job_id, "x-mlbio-deadline": Deadline.after(5).to_header(), "x-request-id": "i" * 99}
    job = Job.from_headers(headers | {"accept": "application/x-ndjson, */*"}, reported.append)
    assert job.id == job_id and 4 < job.seconds_left() <= 5 and job.request_id == "i" * 64
    job.progress(0.5)
    Job.from_headers({"accept": "*/*"}, reported.append).progress(0.7)
    assert reported == [0.5]


@pytest.mark.parametrize("headers", [{}, {"x-mlbio-job": "../../etc/x"}, {"x-mlbio-deadline": "x"}])
def test_a_missing_or_invalid_header_is_ignored(headers: dict):
    assert Job.from_headers(headers, print) == Job()


def test_an_expired_job_is_cancelled():
    assert Job(deadline=Deadline.after(-5)).seconds_left() == 0
    Job(expiry=Deadline.after(60)).raise_if_cancelled()
    with pytest.raises(Cancelled):
        Job(expiry=Deadline.after(-5)).progress(0.1)


def test_a_cancelled_job_raises_once_and_others_continue(own_folder: Path):
    gone, other = Job(uuid.uuid4().hex), Job(uuid.uuid4().hex)
    cancel(gone.id)
    other.progress(0.1)
    with pytest.raises(Cancelled):
        gone.progress(0.1)
    assert not list(own_folder.iterdir())


def test_an_invalid_id_leaves_no_file(own_folder: Path):
    for name in ("", "../x", "*" * 32, "0" * 31, "0" * 33):
        cancel(name)
    assert not list(own_folder.iterdir())


@pytest.mark.parametrize("deletable", [True, False])
def test_old_marks_are_deleted(own_folder: Path, deletable: bool):
    """One that is another user's in /tmp stays; here it is a folder, which unlink refuses, too."""
    old, new = uuid.uuid4().hex, uuid.uuid4().hex
    cancel(old)
    (mark,) = own_folder.iterdir()
    if not deletable:
        mark.unlink()
        mark.mkdir()
    os.utime(mark, (0, 0))
    cancel(new)
    left = [path for path in own_folder.iterdir() if path.name.endswith(new)]
    assert len(left) == 1 and mark.exists() != deletable
