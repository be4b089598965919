"""The page's process and the browser that shows it."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest

from gateway.settings import Settings
from supervisor import page
from supervisor.processes import free_port


def test_the_page_stands_in_front_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    started = []
    monkeypatch.setattr(page, "start", lambda command, environment, *rest: started.append((command, environment)))
    page.start_page(Settings(port=9000, page_port=9001), tmp_path)
    ((command, environment),) = started
    assert command[-2:] == ["--server.port", "9001"] and environment["MLBIO_URL"] == "http://127.0.0.1:9000"


def test_where_nobody_answers_there_is_no_page():
    assert asyncio.run(page.page_is_ready(Settings(page_port=free_port()))) is False


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the machine's browser notes what it was asked to show."""
    notes, browser = tmp_path / "shown", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >> "{notes}"\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    return notes


def test_a_desktops_browser_shows_the_page(shown: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DISPLAY", ":0")
    page.open_browser("http://localhost:8501/")
    deadline = time.monotonic() + 20
    while not (shown.exists() and shown.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert shown.read_text() == "http://localhost:8501/\n"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems always have a desktop")
def test_without_a_desktop_no_browser_is_started(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(page.subprocess, "Popen", lambda *_, **__: pytest.fail("a browser was started"))
    page.open_browser("http://localhost:8501/")
