"""Starting and driving the page in a real Chromium."""

from __future__ import annotations

import contextlib
import importlib.resources
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    NoSuchElementException,
    StaleElementReferenceException,
    TimeoutException,
)
from selenium.webdriver import Chrome
from selenium.webdriver.support.ui import WebDriverWait

from supervisor.processes import free_port
from tests.conftest import ROOT

PATIENCE = 240  # seconds; a busy machine of two slow cores computes the explanation in them
CHROMIUM_FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1200,1800",
]

FILES = '[class*="st-key-uploads"] input[type="file"]'
VERDICT = ".mlbio-verdict"
RESULT = ".mlbio-verdict > section .mlbio-prediction"  # a diagnosis that is not folded away
AXE = (importlib.resources.files("selenium_axe_python") / "axe-core" / "axe.min.js").read_text()
ALERT = '[data-testid="stAlertContentError"]'


@contextlib.contextmanager
def streamlit(service_url: str, log: Path) -> Iterator[str]:
    """The page on a free port, its log in ``log``; stopped at the end."""
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "frontend/app.py", "--server.port", str(port)],
            cwd=ROOT,
            env=os.environ | {"MLBIO_URL": service_url},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        until = time.monotonic() + PATIENCE
        while not answers(f"http://127.0.0.1:{port}/_stcore/health"):
            assert process.poll() is None and time.monotonic() < until, f"the page did not start:\n{log.read_text()}"
            time.sleep(0.3)
        yield f"http://localhost:{port}/"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def wait(browser: Chrome, seconds: float = PATIENCE) -> WebDriverWait[Any]:
    return WebDriverWait(browser, seconds, ignored_exceptions=[StaleElementReferenceException])


def open_page(browser: Chrome, url: str, language: str = "en", width: int = 1200, dark: bool = False) -> None:
    """Open the page as a new session, in a window of this width in pixels; a narrow one is a phone's, with touch."""
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": width <= 640})
    browser.execute_cdp_cmd("Emulation.setLocaleOverride", {})
    agent = browser.execute_script("return navigator.userAgent")
    browser.execute_cdp_cmd("Emulation.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": language})
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 1800 if width > 640 else 844, "deviceScaleFactor": 1, "mobile": width <= 640},
    )
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    # With retries: Chromium abandons a page when a network interface comes or goes (the containers' tests add some).
    for patience in (PATIENCE / 4, PATIENCE / 4, PATIENCE):
        browser.get(url)
        with contextlib.suppress(TimeoutException):
            wait(browser, patience).until(lambda b: b.find_elements("css selector", FILES))
            return wait_until_idle(browser)
    raise AssertionError(f"{url} does not load")


def wait_until_idle(browser: Chrome) -> None:
    """Wait until the script has finished, so that no part of the page is about to be replaced."""
    wait(browser).until(
        lambda b: b.find_elements("css selector", '[data-testid="stApp"][data-test-script-state="notRunning"]')
    )


def upload(browser: Chrome, files: list[Path]) -> None:
    """Add ``files`` and wait for their cards."""
    browser.find_element("css selector", FILES).send_keys("\n".join(map(str, files)))
    wait(browser).until(lambda b: {f.name for f in files} <= set(texts(b, "h3")))
    wait_until_idle(browser)


def click(browser: Chrome, text: str) -> None:
    """Click the first button with this text, once it exists. The page may be redrawn in the meantime."""

    def clicked(b: Chrome) -> bool:
        found = b.find_element("xpath", f'//button[normalize-space()="{text}"]')
        b.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
        found.click()
        return True

    redrawn = [StaleElementReferenceException, NoSuchElementException, ElementClickInterceptedException]
    WebDriverWait(browser, PATIENCE, ignored_exceptions=redrawn).until(clicked)


def texts(browser: Chrome, selector: str) -> list[str]:
    """The texts of all such elements at one moment; tried again if the page is redrawn in the meantime."""
    for _ in range(20):
        with contextlib.suppress(StaleElementReferenceException):
            return [element.text.strip() for element in browser.find_elements("css selector", selector)]
    raise AssertionError(f"{selector} is redrawn endlessly")


def wait_for(browser: Chrome, selector: str, count: int) -> list[str]:
    """The texts of the ``count`` elements, once they exist and the script has finished."""

    def there(_: Chrome) -> bool:
        found = texts(browser, selector)
        return len(found) == count and all(found)

    wait(browser).until(there)
    wait_until_idle(browser)
    return texts(browser, selector)


def body(browser: Chrome) -> str:
    return browser.find_element("tag name", "body").text


def downloads(browser: Chrome, folder: Path) -> None:
    """Let the browser save files in ``folder``, without asking."""
    options = {"behavior": "allow", "downloadPath": str(folder)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", options)


def saved(browser: Chrome, text: str, file: Path) -> bytes:
    """Click the first button with this text; return the content of the ``file`` that the browser then saves."""
    click(browser, text)
    wait(browser).until(lambda _: file.exists())
    return file.read_bytes()


def touch(browser: Chrome, kind: str, *points: tuple[float, float]) -> None:
    """Touch the screen: ``kind`` is start, move or end; positions are in pixels of the window."""
    browser.execute_cdp_cmd(
        "Input.dispatchTouchEvent",
        {
            "type": f"touch{kind.capitalize()}",
            "touchPoints": [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)],
        },
    )


def violations(browser: Chrome) -> list[str]:
    """The violations of WCAG 2 A and AA that axe-core finds on the page."""
    browser.execute_script(AXE)
    found = browser.execute_async_script(
        "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']}).then(arguments[0])"
    )["violations"]
    return [f"{v['id']}: {n['target']} {n['failureSummary']}" for v in found for n in v["nodes"]]
