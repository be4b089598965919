"""Starting and driving the page in a real Chromium."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from gateway.processes import free_port
from tests.conftest import ROOT

PATIENCE = 120  # seconds; a busy machine of two cores computes the explanation in them
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

RESULT = ".mlbio-prediction"
ALERT = '[data-testid="stAlertContentError"]'
WARNING = '[data-testid="stAlertContentWarning"]'


@contextlib.contextmanager
def streamlit(service_url: str, log: Path) -> Iterator[str]:
    """The page on a free port, its log in ``log``; stopped by its own process id."""
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
        while not is_healthy(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, f"the page did not start:\n{log.read_text()}"
            time.sleep(0.3)
        yield f"http://localhost:{port}/"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def is_healthy(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/_stcore/health", timeout=2).ok
    except requests.RequestException:
        return False


def wait(browser: Chrome) -> WebDriverWait[Any]:
    return WebDriverWait(browser, PATIENCE, ignored_exceptions=[StaleElementReferenceException])


def open_page(browser: Chrome, url: str) -> None:
    browser.get(url)
    wait(browser).until(lambda b: b.find_elements("css selector", 'input[type="file"]'))
    wait_until_idle(browser)


def wait_until_idle(browser: Chrome) -> None:
    """The script has run to its end: nothing of the page is about to be replaced."""
    wait(browser).until(
        lambda b: b.find_elements("css selector", '[data-testid="stApp"][data-test-script-state="notRunning"]')
    )


def upload(browser: Chrome, files: list[Path]) -> None:
    """Add ``files`` and wait until all of them lie on the page."""
    browser.find_element("css selector", 'input[type="file"]').send_keys("\n".join(map(str, files)))
    wait(browser).until(lambda b: all(f.name in body(b) for f in files))
    wait(browser).until(lambda b: classify_button(b).is_enabled())
    wait_until_idle(browser)


def choose(browser: Chrome, explain: bool, precision: str | None = None) -> None:
    toggle = browser.find_element("css selector", '[data-testid="stCheckbox"] input')
    if toggle.is_selected() != explain:
        browser.execute_script("arguments[0].click()", toggle)
    wait_until_idle(browser)
    if precision:
        button = f'//*[@data-testid="stButtonGroup"]//button[.//*[text()="{precision}"] or text()="{precision}"]'
        wait(browser).until(lambda b: b.find_element("xpath", button).is_enabled())
        browser.find_element("xpath", button).click()
        wait_until_idle(browser)


def classify_button(browser: Chrome) -> WebElement:
    return browser.find_element("xpath", '//button[normalize-space()="Classify"]')


def click_classify(browser: Chrome) -> None:
    wait(browser).until(lambda b: classify_button(b).is_enabled())
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", classify_button(browser))
    classify_button(browser).click()


def texts(browser: Chrome, selector: str) -> list[str]:
    return [element.text.strip() for element in browser.find_elements("css selector", selector)]


def wait_for(browser: Chrome, selector: str, count: int) -> list[str]:
    """Texts of the ``count`` elements, once they are there and the script has come to its end."""

    def there(_: Chrome) -> bool:
        found = texts(browser, selector)
        return len(found) == count and all(found)

    wait(browser).until(there)
    wait_until_idle(browser)
    return texts(browser, selector)


def body(browser: Chrome) -> str:
    return browser.find_element("tag name", "body").text


def natural_size(picture: WebElement) -> tuple[int, int]:
    return picture.get_property("naturalWidth"), picture.get_property("naturalHeight")
