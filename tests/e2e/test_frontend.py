"""The page in a real Chromium, against the real service. A scenario observes several things: to start one is slow."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pillow_heif
import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from gateway.settings import Settings
from tests.conftest import encode
from tests.e2e.conftest import Gateway
from tests.e2e.page import (
    ALERT,
    FILES,
    RESULT,
    VERDICT,
    body,
    click,
    downloads,
    open_page,
    saved,
    streamlit,
    texts,
    touch,
    upload,
    violations,
    wait,
    wait_for,
    wait_until_idle,
)


@pytest.fixture(scope="module")
def page(service, tmp_path_factory) -> Iterator[str]:
    """The page's address, in front of the real service."""
    log = tmp_path_factory.mktemp("page") / "streamlit.log"
    with streamlit(service.url, log) as url:
        yield url
        assert not re.search(r"deprecat|warning|traceback", log.read_text(), re.IGNORECASE), log.read_text()


def test_an_example_is_classified_and_explained_and_nothing_is_asked_of_the_internet(browser, page, service):
    browser.get_log("performance")  # discard earlier entries
    open_page(browser, page)
    assert wait_for(browser, ".mlbio-status.mlbio-ready", 1) == ["The service is ready."]
    assert texts(browser, "h1") == ["Skin-lesion classifier"] and "not a medical device" in body(browser)
    assert violations(browser) == []

    click(browser, "Try: melanoma")
    example = Path("examples/drawn_melanoma.jpg")
    answer = predict(service, example)
    assert wait_for(browser, RESULT, 1) == [answer["prediction"]]
    (probability,) = texts(browser, ".mlbio-probability")
    assert float(re.search(r"[\d.]+", probability)[0]) == pytest.approx(100 * answer["probability"], abs=0.3)
    assert len(browser.find_elements("css selector", ".mlbio-classes dt")) == 7

    click(browser, "Low")
    click(browser, "Explain")
    wait(browser).until(lambda b: b.find_elements("css selector", ".mlbio-x"))
    wait_until_idle(browser)
    first, second = browser.find_elements("css selector", ".mlbio-x-view")
    regions = [len(view.find_elements("css selector", ".mlbio-x-region")) for view in (first, second)]
    assert regions[0] == regions[1] > 5
    strongest = second.find_element("css selector", ".mlbio-x-region[tabindex]")
    browser.execute_script("arguments[0].focus()", strongest)
    wait(browser).until(lambda b: texts(b, ".mlbio-x-name") == [strongest.get_attribute("aria-label")])
    wait(browser).until(lambda b: "Save as PNG" in body(b))
    assert violations(browser) == []

    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    asked += [e["params"]["url"] for e in events if e["method"] == "Network.webSocketCreated"]
    assert asked
    assert {urlsplit(url).hostname for url in asked if urlsplit(url).scheme in ("http", "https", "ws", "wss")} == {
        "localhost"
    }


def test_several_photographs_on_a_dark_page(browser, page, service, example_images, tmp_path):
    """They are classified as they are dropped; explanations stop and resume; a click elsewhere interrupts nothing."""
    broken = tmp_path / "notes.txt"  # no image by its name either
    broken.write_text("this is no photograph")
    noise = tmp_path / "noise *1*.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)).save(noise)
    open_page(browser, page, dark=True)
    upload(browser, [*example_images[:2], broken, noise])
    wait_for(browser, VERDICT, 3)
    predictions = [predict(service, file)["prediction"] for file in example_images[:2]]
    assert texts(browser, RESULT) == predictions
    assert "not a photograph that can be read" in wait_for(browser, ALERT, 1)[0]
    assert texts(browser, ".mlbio-unsure h4") == ["No reliable diagnosis"]
    assert "This file cannot be shown" in body(browser) and "4 photographs" in texts(browser, "h2")

    click(browser, "High")
    click(browser, "Explain all")
    wait(browser).until(lambda b: any(v > 0 for v in shares(b)))
    click(browser, "Medium")  # a change of setting does not interrupt running explanations
    wait(browser).until(lambda b: shares(b))
    click(browser, "Stop all")
    wait(browser).until(lambda b: "Explain all" in body(b) and shares(b) == [])
    click(browser, "Low")
    click(browser, "Explain")
    wait(browser).until(lambda b: b.find_elements("css selector", ".mlbio-x"))

    truth = tmp_path / "truth.csv"
    truth.write_text("file,dx\n" + "".join(f"{f.name},mel\n" for f in example_images[:2]))
    summary = browser.find_element("xpath", '//summary[contains(normalize-space(), "Compare with the true diagnoses")]')
    browser.execute_script("arguments[0].click()", summary)
    browser.find_element("css selector", ".st-key-truth input[type=file]").send_keys(str(truth))
    right = predictions.count("Melanoma")
    # Both in one look: the page may be redrawn between two, as the last explanation has just arrived.
    wait(browser).until(lambda b: {f"{50 * right:.1f}%", "Balanced accuracy"} <= set(body(b).splitlines()))
    assert violations(browser) == []

    click(browser, "Remove")
    wait(browser).until(lambda b: "3 photographs" in texts(b, "h2"))
    click(browser, "Remove all")
    wait(browser).until(lambda b: "Or try an example" in texts(b, "h2") and texts(b, RESULT) == [])
    assert "Something went wrong" not in body(browser)


@pytest.mark.slow
def test_a_phone_in_french(browser, page, tmp_path):
    """The browser's language is French; HEIC, turned and deep files are read; the verdict comes first."""
    wide = Image.linear_gradient("L").resize((300, 200)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera on its side: 300 x 200 is shown as 200 x 300
    wide.save(tmp_path / "TURNED.JPG", exif=exif)
    Image.fromarray(np.asarray(wide.convert("L"), np.uint16) * 257).save(tmp_path / "deep *grey*.png")
    pillow_heif.from_pillow(wide).save(tmp_path / "iphone.heic")
    open_page(browser, page, language="fr-FR", width=390)
    assert texts(browser, "h1") == ["Classification de lésions cutanées"]
    assert browser.execute_script("return document.documentElement.lang") == "fr"
    assert violations(browser) == []

    upload(browser, sorted(tmp_path.iterdir()))
    wait_for(browser, VERDICT, 3)
    probability = browser.find_element("css selector", ".mlbio-probability").get_attribute("textContent")
    assert probability.startswith("Probabilité")
    shown = browser.find_elements("css selector", 'img[alt^="Photographie"]')
    wait(browser).until(lambda _: all(photograph.get_property("naturalWidth") for photograph in shown))
    sizes = {
        photograph.get_attribute("alt").removeprefix("Photographie ").partition("\u00a0;")[0]: (
            photograph.get_property("naturalWidth"),
            photograph.get_property("naturalHeight"),
        )
        for photograph in shown
    }
    assert sizes == {"TURNED.JPG": (200, 300), "deep *grey*.png": (300, 200), "iphone.heic": (300, 200)}
    # Both tops at once: the page scrolls smoothly to the first photograph.
    tops = (
        f"return ['{VERDICT}', 'img[alt^=Photographie]']"
        ".map(e => document.querySelector(e).getBoundingClientRect().top)"
    )
    wait(browser).until(lambda b: b.execute_script(tops)[0] < 844)
    verdict, photograph = browser.execute_script(tops)
    assert verdict < photograph
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    assert violations(browser) == []

    click(browser, "English")
    wait(browser).until(lambda b: texts(b, "h1") == ["Skin-lesion classifier"])
    assert len(wait_for(browser, VERDICT, 3)) == 3


@pytest.mark.slow
def test_a_hundred_photographs_in_french(browser, page, example_images, tmp_path):
    """The table leads to the cards, which are paged; filters; files to download and a printed report."""
    folder, kept = tmp_path / "photographs", tmp_path / "kept"
    folder.mkdir()
    drawn = [Image.open(f) for f in example_images]
    for number in range(120):
        drawn[number % len(drawn)].rotate(3 * number, fillcolor=(225, 170, 150)).save(folder / f"{number:03d}.jpg")
    (folder / "120.jpg").write_text("this is no photograph")
    files = sorted(folder.iterdir())
    open_page(browser, page, language="fr")
    downloads(browser, kept)
    browser.find_element("css selector", FILES).send_keys("\n".join(map(str, files)))
    wait_for(browser, VERDICT, 10)
    wait(browser).until(lambda b: "121 photographies" in texts(b, "h2") and "à classer" not in body(b))
    wait_until_idle(browser)
    assert texts(browser, "h3")[:10] == [f.name for f in files[:10]]
    assert "Choisir des fichiers" in body(browser)

    # The box next to the row: the table is drawn on a canvas.
    grid = browser.find_element("css selector", '[data-testid="stDataFrame"]')
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", grid)
    buttons = browser.find_elements("css selector", "[data-testid=stElementToolbar] button")
    labels = {str(button.get_attribute("aria-label")).partition(" : ")[0] for button in buttons}
    assert labels >= {"Chercher", "Plein écran"}
    x, y = 16 - grid.size["width"] // 2, 44 * 3 + 60 - grid.size["height"] // 2
    ActionChains(browser).move_to_element_with_offset(grid, x, y).click().perform()
    wait(browser).until(
        lambda b: b.execute_script(
            "const e = [...document.querySelectorAll('h3')].find(e => e.textContent === '003.jpg');"
            "const y = e?.getBoundingClientRect().top; return y >= -50 && y < 900"
        )
    )
    assert violations(browser) == []

    text = saved(browser, "Tableau en CSV", kept / "mlbio.csv").decode("utf-8-sig")
    table = list(csv.DictReader(text.splitlines(), delimiter=";"))
    assert [row["file"] for row in table] == [f.name for f in files]
    assert [bool(row["error"]) for row in table] == [False] * 120 + [True]
    with zipfile.ZipFile(io.BytesIO(saved(browser, "Le tout en ZIP", kept / "mlbio.zip"))) as archive:
        assert sorted(archive.namelist()) == ["mlbio.csv", "report.html"]
        assert archive.read("report.html").decode().count("<article>") == 120

    number = browser.find_element("css selector", ".st-key-page input")
    number.send_keys(Keys.CONTROL, "a")
    number.send_keys("13", Keys.ENTER)
    wait(browser).until(lambda b: texts(b, "h3") == ["120.jpg"])
    click(browser, "En échec")
    wait(browser).until(lambda b: texts(b, "h3") == ["120.jpg"] and not b.find_elements("css selector", ".st-key-page"))
    assert "Réessayer" not in body(browser)  # the same file would fail again
    click(browser, "Toutes")

    wait(browser).until(lambda b: "000.jpg" in texts(b, "h3"))
    saved(browser, "Compte rendu", kept / "000.html")
    browser.get((kept / "000.html").as_uri())
    assert texts(browser, "h1") == ["Compte rendu : 000.jpg"]
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})["data"])
    assert pdf.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page\b", pdf)) == 1


@pytest.mark.slow
def test_the_service_comes_back_on_a_small_phone(browser, service, example_images, tmp_path):
    """The page says that the service is away, and classifies photographs once it is back. Touch gestures work."""
    gateway = Gateway(Settings(torchserve_url=service.torchserve_url))
    with streamlit(gateway.url, tmp_path / "streamlit.log") as url:
        open_page(browser, url, width=360)
        assert "make serve" in wait_for(browser, ".mlbio-status", 1)[0]
        upload(browser, example_images[:1])
        assert "not reachable" in wait_for(browser, ALERT, 1)[0]
        assert "Traceback" not in body(browser) and texts(browser, RESULT) == []
        with gateway:
            wait_for(browser, RESULT, 1)
            wait(browser).until(lambda b: texts(b, ALERT) == [])
            click(browser, "Low")
            click(browser, "Explain")
            wait(browser).until(lambda b: b.find_elements("css selector", ".mlbio-x"))
            wait_until_idle(browser)
            wait(browser).until(tap_names_a_region)
            wait(browser).until(pinch_enlarges)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
            assert violations(browser) == []
    assert "Traceback" not in (tmp_path / "streamlit.log").read_text()


def explanation_centre(browser) -> tuple[float, float]:
    """The middle of the explanation's picture, scrolled into the window, in pixels of the window."""
    return browser.execute_script(
        "const view = document.querySelector('.mlbio-x-view');"
        "view.scrollIntoView({block: 'center', behavior: 'instant'});"
        "const box = view.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]"
    )


# Streamlit may redraw the explanation between two steps, so each attempt finds it again.


def tap_names_a_region(browser) -> bool:
    touch(browser, "start", explanation_centre(browser))
    touch(browser, "end")
    name = browser.execute_script("return document.querySelector('.mlbio-x-name').textContent")
    return name.startswith("Region ")


def pinch_enlarges(browser) -> bool:
    x, y = explanation_centre(browser)
    touch(browser, "start", (x - 20, y), (x + 20, y))
    touch(browser, "move", (x - 60, y), (x + 60, y))
    touch(browser, "end")
    transform = browser.execute_script(
        "return document.querySelector('.mlbio-x-view g').getAttribute('transform') || 'scale(1)'"
    )
    return float(re.search(r"scale\(([\d.]+)", transform)[1]) > 2.9


def shares(browser) -> list[int]:
    """The progress of the explanations, in percent."""
    return browser.execute_script(
        "return [...document.querySelectorAll('[role=progressbar]')].map(e => Number(e.getAttribute('aria-valuenow')))"
    )


def predict(service, file: Path) -> dict:
    """What ``POST /predict`` answers for ``file``."""
    return service.predict({"image": encode(file.read_bytes())}).json()
