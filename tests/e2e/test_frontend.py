"""The page in a real Chromium, against the real service."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
from PIL import Image

from gateway.processes import free_port
from tests.e2e.page import (
    ALERT,
    PATIENCE,
    RESULT,
    WARNING,
    body,
    choose,
    click_classify,
    natural_size,
    open_page,
    streamlit,
    texts,
    upload,
    wait,
    wait_for,
)


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("page") / "streamlit.log"


@pytest.fixture(scope="module")
def page(service, log) -> Iterator[str]:
    """The page's address, in front of the real service."""
    with streamlit(service.url, log) as url:
        yield url


def test_two_photographs_get_the_services_diagnoses(browser, page, service, example_images):
    files = example_images[:2]
    open_page(browser, page)
    upload(browser, files)
    click_classify(browser)

    assert wait_for(browser, RESULT, 2) == [predict(service, f)["prediction"] for f in files]
    for text, file in zip(texts(browser, ".mlbio-probability"), files, strict=True):
        expected = 100 * predict(service, file)["probability"]
        assert float(re.search(r"[\d.]+", text)[0]) == pytest.approx(expected, abs=0.3)  # a batch rounds differently
    bars = browser.find_elements("css selector", ".mlbio-bars")
    assert [len(b.find_elements("css selector", ".mlbio-bar")) for b in bars] == [7, 7]
    assert "not a medical device" in body(browser)


def test_an_explanation_appears_beside_the_photograph_and_can_be_saved(browser, page, service, example_images):
    file = example_images[0]
    open_page(browser, page)
    upload(browser, [file])
    choose(browser, explain=True, precision="Faible")
    click_classify(browser)
    wait_for(browser, RESULT, 1)

    explanation = browser.find_element("css selector", 'img[alt^="Explanation of"]')
    wait(browser).until(lambda _: explanation.get_property("naturalWidth") > 0)
    assert natural_size(explanation) == (224, 224)
    answered = np.array(predict(service, file, explain=True, precision="Faible")["explain"])
    assert_similar(fetch_picture(explanation), answered)
    photograph = browser.find_element("css selector", 'img[alt^="Photograph"]')
    assert photograph.location["x"] < explanation.location["x"]
    assert abs(photograph.location["y"] - explanation.location["y"]) < 100
    assert "Save as PNG" in body(browser)


def test_the_progress_of_an_explanation_is_shown_while_it_is_computed(browser, page, example_images):
    open_page(browser, page)
    upload(browser, example_images[:1])
    choose(browser, explain=True, precision="Moyenne")
    click_classify(browser)
    from selenium.common.exceptions import WebDriverException

    bar = wait(browser).until(lambda _: browser.find_elements("css selector", '[role="progressbar"]'))[0]
    seen = set()
    while not browser.find_elements("css selector", RESULT):
        with contextlib.suppress(WebDriverException):  # drawn anew in the meantime
            seen.add(int(bar.get_attribute("aria-valuenow")))
    assert len(seen) > 2 and max(seen) > 5, "it may settle long before the precision's limit"
    wait(browser).until(lambda _: not browser.find_elements("css selector", '[role="progressbar"]'))
    assert re.search(r"stability \d+%, fit R² \d\.\d\d", body(browser))


def test_results_stay_and_say_of_which_settings_they_are(browser, page, example_images):
    open_page(browser, page)
    upload(browser, example_images[:1])
    click_classify(browser)
    before = wait_for(browser, RESULT, 1)

    choose(browser, explain=True)
    wait(browser).until(lambda _: "made without explanation" in body(browser))
    assert texts(browser, RESULT) == before

    upload(browser, example_images[1:2])  # another file: the first keeps its result, the new one has none yet
    wait(browser).until(lambda _: "Not classified yet" in body(browser))
    assert texts(browser, RESULT) == before

    browser.find_element("css selector", '[data-testid="stFileChipDeleteBtn"] button').click()
    wait(browser).until(lambda _: len(browser.find_elements("css selector", RESULT)) != 1)
    assert texts(browser, RESULT) == []


def test_a_broken_file_shows_the_services_words_and_the_others_go_on(
    browser, page, service, example_images, tmp_path_factory
):
    broken = tmp_path_factory.mktemp("broken") / "notes.jpg"
    broken.write_text("this is no photograph")
    refused = predict(service, broken)
    assert refused["success"] is False
    open_page(browser, page)
    upload(browser, [broken, example_images[0]])
    click_classify(browser)

    assert wait_for(browser, RESULT, 1) == [predict(service, example_images[0])["prediction"]]
    assert wait_for(browser, ALERT, 1) == [refused["error"]]
    assert "This file cannot be shown" in body(browser)
    assert "Traceback" not in body(browser)


def test_a_picture_that_is_no_skin_is_warned_of(browser, page, tmp_path_factory):
    picture = tmp_path_factory.mktemp("noise") / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)).save(picture)
    open_page(browser, page)
    upload(browser, [picture])
    click_classify(browser)
    wait_for(browser, RESULT, 1)
    wait(browser).until(lambda b: any("do not trust the diagnosis" in text for text in texts(b, WARNING)))


def test_turned_and_unusual_photographs_are_shown_upright(browser, page, tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    wide = Image.linear_gradient("L").resize((300, 200)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera on its side: 300 x 200 is to be seen as 200 x 300
    wide.save(folder / "TURNED.JPG", exif=exif)
    wide.save(folder / "scan.TIFF")
    Image.fromarray(np.asarray(wide.convert("L"), np.uint16) * 257).save(folder / "deep *grey*.png")
    wide.convert("P").save(folder / "old.gif")
    open_page(browser, page)
    upload(browser, sorted(folder.iterdir()))

    wait(browser).until(lambda _: len(browser.find_elements("css selector", 'img[alt^="Photograph"]')) == 4)
    pictures = {p.get_attribute("alt"): p for p in browser.find_elements("css selector", 'img[alt^="Photograph"]')}
    wait(browser).until(lambda _: all(p.get_property("naturalWidth") for p in pictures.values()))
    sizes = {name.removeprefix("Photograph "): natural_size(p) for name, p in pictures.items()}
    assert sizes == {
        "TURNED.JPG": (200, 300),
        "scan.TIFF": (300, 200),
        "deep *grey*.png": (300, 200),
        "old.gif": (300, 200),
    }
    assert "deep *grey*.png" in body(browser)


def test_a_service_that_is_down_is_said_plainly(browser, example_images, tmp_path):
    with streamlit(f"http://127.0.0.1:{free_port()}", tmp_path / "streamlit.log") as url:
        open_page(browser, url)
        upload(browser, example_images[:2])
        click_classify(browser)
        (message,) = wait_for(browser, ALERT, 1)
        assert "not reachable" in message and "make serve" in message
        assert "Traceback" not in body(browser) and texts(browser, RESULT) == []
    assert "Traceback" not in (tmp_path / "streamlit.log").read_text()


def test_the_page_asks_nothing_of_the_internet_and_logs_no_warning(browser, page, log, example_images):
    browser.get_log("performance")  # what came before is read and forgotten
    open_page(browser, page)
    upload(browser, example_images[:1])
    choose(browser, explain=True, precision="Faible")
    click_classify(browser)
    wait_for(browser, RESULT, 1)

    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    asked += [e["params"]["url"] for e in events if e["method"] == "Network.webSocketCreated"]
    assert asked
    elsewhere = [u for u in asked if urlsplit(u).scheme not in ("data", "blob") and urlsplit(u).hostname != "localhost"]
    assert elsewhere == []
    assert not re.search(r"deprecat|warning|traceback", log.read_text(), re.IGNORECASE), log.read_text()


def predict(service, file: Path, **fields) -> dict:
    """What ``POST /predict`` answers for ``file``."""
    request = {"image": base64.b64encode(file.read_bytes()).decode(), **fields}
    return requests.post(f"{service.url}/predict", json=request, timeout=PATIENCE).json()


def fetch_picture(picture) -> np.ndarray:
    data = requests.get(picture.get_attribute("src"), timeout=PATIENCE).content
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def assert_similar(seen: np.ndarray, answered: np.ndarray) -> None:
    """The same picture: two explanations may differ in an outline, never in the photograph under it."""
    assert seen.shape == answered.shape
    differing = (np.abs(seen.astype(int) - answered.astype(int)).max(axis=2) > 2).mean()
    assert differing < 0.2
