"""The command line, as a process of its own against the real service."""

from __future__ import annotations

import contextlib
import csv
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api.classes import CLASSES
from gateway.processes import free_port
from tests.conftest import ROOT, encode
from tests.e2e.conftest import Service


def run(url: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "cli/client.py"), *map(str, arguments)],
        env=os.environ | {"MLBIO_URL": url},
        capture_output=True,
        text=True,
        timeout=500,
    )


def test_help_is_as_documented():
    finished = run("", "-h")
    assert finished.returncode == 0
    usage = " ".join(finished.stdout.split("\n\n")[0].split())
    assert usage == "usage: client.py [-h] [--explain] [--precision PRECISION] image [image ...]"


def test_a_line_per_image(service: Service, example_images: list[Path]):
    finished = run(service.url, *example_images)
    assert finished.returncode == 0 and finished.stderr == ""
    lines = finished.stdout.splitlines()
    assert len(lines) == len(example_images)
    for line, path in zip(lines, example_images, strict=True):
        name, percent = re.fullmatch(re.escape(str(path)) + r": (.+?) \((\d+\.\d)%\)(?:;.*)?", line).groups()
        answer = service.predict({"image": encode(path.read_bytes())}).json()
        assert name == answer["prediction"] and float(percent) == pytest.approx(100 * answer["probability"], abs=0.06)


def test_explain_saves_the_overlay_beside_the_image(service: Service, example_images: list[Path], tmp_path: Path):
    jpeg = tmp_path / "mole.jpg"
    shutil.copy(example_images[0], jpeg)
    Image.open(jpeg).save(tmp_path / "mole.png")
    finished = run(service.url, "--explain", "--precision", "Faible", jpeg, tmp_path / "mole.png")
    assert finished.returncode == 0, finished.stderr
    first, second = finished.stdout.splitlines()
    assert first.endswith(f" -> {tmp_path / 'mole_explained.png'}")
    assert second.endswith(f" -> {tmp_path / 'mole.png_explained.png'}"), "one picture does not overwrite the other"
    overlay = np.asarray(Image.open(tmp_path / "mole_explained.png"))
    assert overlay.shape == (224, 224, 3)
    assert (overlay == (0, 255, 0)).all(axis=2).any()


def test_a_picture_never_overwrites_a_photograph(service: Service, example_images: list[Path], tmp_path: Path):
    first, second = tmp_path / "a.jpg", tmp_path / "a_explained.png"
    shutil.copy(example_images[0], first)
    Image.open(example_images[1]).save(second)
    before = second.read_bytes()
    finished = run(service.url, "--explain", "--precision", "Faible", first, second)
    assert finished.returncode == 0, finished.stderr
    assert second.read_bytes() == before
    assert [line.rsplit("/", 1)[1] for line in finished.stdout.splitlines()] == [
        "a.jpg_explained.png",
        "a_explained_explained.png",
    ]


def test_a_terminal_shows_the_progress_and_then_the_line_alone(service: Service, example_images, tmp_path: Path):
    shutil.copy(example_images[0], tmp_path / "mole.jpg")
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, str(ROOT / "cli/client.py"), "--explain", str(tmp_path / "mole.jpg")],
        env=os.environ | {"MLBIO_URL": service.url},
        stdout=subprocess.PIPE,
        stderr=slave,
        text=True,
    ) as process:
        os.close(slave)
        seen = b""
        with contextlib.suppress(OSError):  # a terminal whose other end is closed
            while part := os.read(master, 4096):
                seen += part
        lines = process.stdout.read().splitlines()
    os.close(master)
    assert process.returncode == 0 and len(lines) == 1
    shares = [int(s) for s in re.findall(rb"mole.jpg: explaining, (\d+)%", seen)]
    assert shares == sorted(shares) and shares[0] == 0 and len(shares) > 4
    assert seen.endswith(b"\r\x1b[K"), "the line of progress is gone"


def test_one_that_fails_does_not_stop_the_others(service: Service, example_images: list[Path], tmp_path: Path):
    broken, missing = tmp_path / "broken.jpg", tmp_path / "missing.jpg"
    broken.write_text("no photograph")
    finished = run(service.url, broken, missing, tmp_path, example_images[0])
    assert finished.returncode == 1
    assert len(finished.stdout.splitlines()) == 1 and str(example_images[0]) in finished.stdout
    errors = finished.stderr.splitlines()
    assert [str(broken) in errors[0], str(missing) in errors[1], str(tmp_path) in errors[2]] == [True] * 3
    assert "JPEG" in errors[0] and "No such file" in errors[1] and "directory" in errors[2]
    assert len(errors) == 3


def test_a_picture_that_is_no_skin_is_said_to_be(service: Service, tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    finished = run(service.url, tmp_path / "noise.png")
    assert finished.returncode == 0
    assert finished.stdout.rstrip().endswith("; unlike the photographs that the model knows: not to be trusted")


def test_a_wrong_precision_is_explained(service: Service, example_images: list[Path]):
    finished = run(service.url, "--precision", "grande", example_images[0])
    assert finished.returncode == 1 and "Importante" in finished.stderr


def test_no_service_says_how_to_start_it(example_images: list[Path]):
    finished = run(f"http://127.0.0.1:{free_port()}", example_images[0])
    assert finished.returncode == 1
    assert "make serve" in finished.stderr and "Traceback" not in finished.stderr


def test_a_foreign_service_is_named(service: Service, example_images: list[Path]):
    finished = run(f"{service.url}/docs", example_images[0])  # …/docs/predict: an answer, but not a documented success
    assert finished.returncode == 1 and "Traceback" not in finished.stderr


def test_photographs_as_taken(service: Service, shared: Path, tmp_path: Path):
    """All 28 are answered and explained, and clearly more of them rightly than the original's 70 %."""
    for path in (shared / "photos").glob("*.jpg"):
        shutil.copy(path, tmp_path / path.name)
    photographs = sorted(tmp_path.glob("*.jpg"))
    assert len(photographs) == 28
    finished = run(service.url, "--explain", "--precision", "Faible", *photographs)
    assert finished.returncode == 0, finished.stderr
    lines = finished.stdout.splitlines()
    assert len(lines) == 28 and len(list(tmp_path.glob("*_explained.png"))) == 28
    with (shared / "photos/labels.csv").open() as file:
        truth = {row["file"]: CLASSES[row["dx"]] for row in csv.DictReader(file)}
    right = sum(truth[path.name] in line for path, line in zip(photographs, lines, strict=True))
    print(f"{right} of 28 photographs right")
    assert right >= 17  # four of each class: a classifier of the commonest class has 4 right
