"""The command line, as a process of its own against the real service."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests
from PIL import Image

from api.classes import CLASSES
from supervisor.processes import free_port
from tests.conftest import ROOT, encode
from tests.e2e.conftest import Service, wait_for

COMMAND = [sys.executable, str(ROOT / "cli/client.py")]


def run(url: str, *arguments: object, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env=os.environ | {"MLBIO_URL": url},
        **({"capture_output": True, "text": True, "timeout": 120} | options),
    )


def in_terminal(url: str, *arguments: object, columns: int = 80, **environment: str) -> str:
    """What the command writes to a terminal, stdout and stderr together."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env=os.environ | {"MLBIO_URL": url, "TERM": "xterm"} | environment,
        stdin=slave,
        stdout=slave,
        stderr=slave,
    ):
        os.close(slave)
        seen = b""
        with contextlib.suppress(OSError):  # a terminal whose other end is closed
            while part := os.read(master, 4096):
                seen += part
    os.close(master)
    return seen.decode()


def tiny_photographs(folder: Path, count: int) -> Path:
    """A folder of small files that the service answers quickly, each with bytes of its own."""
    folder.mkdir()
    for number in range(count):
        Image.new("RGB", (48, 32), (200, 150, number % 250)).save(folder / f"{number:04}.png")
    return folder


def test_help_has_the_documented_options_and_exit_codes():
    finished = run("", "-h")
    assert finished.returncode == 0
    usage = " ".join(finished.stdout.split("\n\n")[0].split())
    assert usage.startswith("usage: client.py [-h] [--explain] [--precision PRECISION] ")
    assert usage.endswith(" image [image ...]")
    codes = finished.stdout.split("exit codes:\n")[1].splitlines()
    assert [line.split()[0] for line in codes] == ["0", "1", "2", "130", "141"]


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
    again = run(service.url, "--explain", "--precision", "Faible", tmp_path / "mole_explained.png", jpeg)
    assert again.stdout.splitlines() == [first], "the picture is not explained; the photograph's is made anew"
    assert "left out" in again.stderr and again.returncode == 0
    assert len(list(tmp_path.iterdir())) == 4
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
        "a_explained_explained.png",  # of somebody's photograph, and not of our picture
    ]


def test_a_terminal_shows_the_progress_and_then_the_line_alone(service: Service, example_images, tmp_path: Path):
    shutil.copy(example_images[0], tmp_path / "mole.jpg")
    master, slave = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "--explain", "--precision", "Faible", str(tmp_path / "mole.jpg")],
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
    assert re.search(rb"\r *\r$", seen), "the line of progress is gone"


def test_one_that_fails_does_not_stop_the_others(service: Service, example_images: list[Path], tmp_path: Path):
    broken, missing = tmp_path / "broken.jpg", tmp_path / "missing.jpg"
    broken.write_text("no photograph")
    empty = tmp_path / "empty"
    empty.mkdir()
    finished = run(service.url, broken, missing, empty, example_images[0])
    assert finished.returncode == 1
    assert len(finished.stdout.splitlines()) == 1 and str(example_images[0]) in finished.stdout
    errors = finished.stderr.splitlines()
    assert [str(broken) in errors[0], str(missing) in errors[1], str(empty) in errors[2]] == [True] * 3
    assert "JPEG" in errors[0] and "No such file" in errors[1] and "directory" in errors[2]
    assert len(errors) == 3


def test_a_picture_that_is_no_skin_is_said_to_be(service: Service, tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    finished = run(service.url, tmp_path / "noise.png")
    assert finished.returncode == 0
    assert finished.stdout.rstrip().endswith("; unlike the photographs that the model knows: not to be trusted")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--precision", "grande"], "Importante"),
        (["--jobs", "0"], "1 to 64"),
        (["--top", "8"], "1 to 7"),
        (["--timeout", "nan"], "seconds"),
        (["--resume"], "--output"),
        (["--url", "127.0.0.1:8089"], "http://127.0.0.1:8089"),
    ],
)
def test_a_wrong_option_is_explained_before_anything_is_sent(arguments: list[str], said: str, tmp_path: Path):
    finished = run(f"http://127.0.0.1:{free_port()}", *arguments, tmp_path / "missing.jpg")
    assert finished.returncode == 2 and finished.stdout == ""
    assert said in finished.stderr and "missing.jpg" not in finished.stderr


@pytest.mark.parametrize("url", ["127.0.0.1:8089", "localhost:8089", " ", "http://", "http://x:99999", "ftp://x"])
def test_an_address_that_is_none_is_explained(url: str, example_images: list[Path]):
    finished = run(url, example_images[0])
    assert finished.returncode == 2
    assert "MLBIO_URL" in finished.stderr and "use one such as http://127.0.0.1:8089" in finished.stderr


def test_no_service_says_how_to_start_it(example_images: list[Path]):
    finished = run(f"http://127.0.0.1:{free_port()}", *example_images)
    assert finished.returncode == 1
    assert len(finished.stderr.splitlines()) == 1, "the others are not tried"
    assert "make serve" in finished.stderr and "Traceback" not in finished.stderr


def test_a_foreign_service_is_named(service: Service, example_images: list[Path]):
    finished = run(f"{service.url}/docs", example_images[0])  # …/docs/predict: an answer, but not a documented success
    assert finished.returncode == 1 and "Traceback" not in finished.stderr


def test_json_and_csv_have_a_row_for_each_photograph(service: Service, example_images: list[Path], tmp_path: Path):
    missing = tmp_path / "missing.jpg"
    finished = run(service.url, "--json", "--top", "2", "--details", example_images[0], missing)
    good, bad = map(json.loads, finished.stdout.splitlines())
    assert finished.returncode == 1 and "missing.jpg" in finished.stderr
    answer = service.predict({"image": encode(example_images[0].read_bytes()), "details": True}).json()
    assert good["success"] and not bad["success"] and "No such file" in bad["error"]
    assert (good["prediction"], good["probability"]) == (answer["prediction"], answer["probability"])
    assert good["details"]["probabilities"] == answer["details"]["probabilities"]
    plausible = answer["details"]["plausible"]
    assert good["plausible"] == good["details"]["plausible"] == plausible
    first, second = sorted(answer["details"]["probabilities"].items(), key=lambda item: -item[1])[:2]
    assert [tuple(t.values()) for t in good["top"]] == [first, second]
    table = run(service.url, "--csv", "--top", "2", example_images[0], missing).stdout.splitlines()
    rows = list(csv.DictReader(table))
    assert [row["image"] for row in rows] == [str(example_images[0]), str(missing)]
    assert (rows[0]["prediction"], rows[0]["prediction_2"]) == (first[0], second[0])
    assert rows[0]["plausible"] == "; ".join(plausible or [])
    assert rows[1]["prediction"] == "" and "No such file" in rows[1]["error"]


def test_folders_patterns_and_stdin_in_order(service: Service, example_images: list[Path], tmp_path: Path):
    folder = tiny_photographs(tmp_path / "folder", 9)
    (folder / "notes.txt").write_text("no photograph")
    for kind in (folder, folder / "*.png"):
        lines = run(service.url, "--jobs", "4", kind).stdout.splitlines()
        assert [line.split(": ")[0] for line in lines] == [str(folder / f"{n:04}.png") for n in range(9)]
    with example_images[0].open("rb") as file:
        finished = run(service.url, "-", "--output", tmp_path, "--url", service.url, stdin=file)
    expected = run(service.url, example_images[0]).stdout
    assert finished.stdout.partition(": ")[2] == expected.partition(": ")[2] and finished.stdout.startswith("-: ")


@pytest.mark.parametrize("kind", ["heatmap", "outline"])
def test_overlays_are_as_large_as_the_photograph(service: Service, example_images, tmp_path: Path, kind: str):
    output = tmp_path / "output"
    finished = run(service.url, "--overlay", kind, "--precision", "Faible", "--output", output, example_images[0])
    assert finished.returncode == 0, finished.stderr
    with Image.open(example_images[0]) as photograph:
        before = np.asarray(photograph.convert("RGB"), float)
    after = np.asarray(Image.open(output / f"{example_images[0].stem}_explained.png"), float)
    assert after.shape == before.shape
    bluer = (after - before)[..., 2] - (after - before)[..., 0]
    assert bluer.max() > 30, "something speaks for the diagnosis"


def test_a_diagnosis_is_kept_when_its_picture_cannot_be_written(service: Service, example_images, tmp_path: Path):
    (tmp_path / "output").mkdir()
    (tmp_path / "output/folder").write_text("where a folder would be needed")
    photographs = tmp_path / "photographs/folder"
    photographs.mkdir(parents=True)
    shutil.copy(example_images[0], photographs)
    finished = run(
        service.url, "--json", "--explain", "--precision", "low", "--output", tmp_path / "output", photographs.parent
    )
    row = json.loads(finished.stdout)
    assert finished.returncode == 1 and row["prediction"] in CLASSES.values() and row["picture"] is None
    assert "cannot be written" in row["error"] and "cannot be written" in finished.stderr


def test_a_reader_that_leaves_and_a_full_disk_are_a_line_at_most(service: Service, tmp_path: Path):
    folder = tiny_photographs(tmp_path / "folder", 40)
    command = " ".join([*COMMAND, str(folder)])
    environment = os.environ | {"MLBIO_URL": service.url}
    script = f"{command} | head -2; echo ${{PIPESTATUS[0]}}"
    finished = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert finished.stderr == "" and finished.stdout.splitlines()[2:] == ["141"]
    with open("/dev/full", "w") as full:
        finished = run(service.url, folder, stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert finished.returncode == 1
    assert finished.stderr == "client.py: the output cannot be written (No space left on device)\n"


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_during_an_explanation_is_a_line(service: Service, tmp_path: Path, jobs: int):
    Image.new("RGB", (64, 64), (210, 170, 150)).save(tmp_path / "skin.png")
    command = [*COMMAND, "--explain", "--precision", "high", "--jobs", str(jobs), str(tmp_path)]
    with subprocess.Popen(
        command, env=os.environ | {"MLBIO_URL": service.url}, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(lambda: 'mlbio_queue_requests{pool="mlbio_explain"} 0.0' not in metrics(service), 30)
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        assert process.wait(20) == 130
        assert process.stderr.read() == "client.py: interrupted\n" and time.monotonic() - begun < 10


def metrics(service: Service) -> str:
    return requests.get(f"{service.url}/metrics", timeout=10).text


@pytest.mark.parametrize("columns", [20, 60])
def test_a_terminal_of_any_width(service: Service, tmp_path: Path, columns: int):
    folder = tiny_photographs(tmp_path / ("long" * 20), 3)
    seen = in_terminal(service.url, folder, columns=columns)
    assert "0/3 [" in seen and "2/3 [" in seen
    parts = [part for part in re.split("[\r\n]", seen) if "/3 [" in part]
    assert parts and all(len(part) <= columns for part in parts)


def test_colour_and_cursor_are_for_terminals_that_want_them(service: Service, tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    photographs = [tmp_path / "noise.png"] * 2
    assert "\x1b[33munlike" in in_terminal(service.url, *photographs)
    assert "\x1b[33m" not in in_terminal(service.url, *photographs, NO_COLOR="1")
    assert "\x1b" not in in_terminal(service.url, *photographs, TERM="dumb")


def test_a_killed_run_goes_on_with_the_same_rows(service: Service, tmp_path: Path):
    folder, output = tiny_photographs(tmp_path / "folder", 60), tmp_path / "output"
    arguments = ["--json", "--jobs", "2", "--output", str(output), str(folder)]
    with subprocess.Popen(
        [*COMMAND, *arguments], env=os.environ | {"MLBIO_URL": service.url}, stdout=subprocess.PIPE, text=True
    ) as process:
        before = [process.stdout.readline() for _ in range(10)]
        process.kill()
    journal = output / "results.jsonl"
    kept = journal.read_text().splitlines()[1:]
    assert 10 <= len(kept) < 60
    with journal.open("a") as file:
        file.write('{"image": "torn')  # what a kill in the middle of a line leaves
    finished = run(service.url, "--resume", *arguments)
    rows = finished.stdout.splitlines(keepends=True)
    assert finished.returncode == 0 and rows[:10] == before and len(rows) == 60
    images = [json.loads(line)["image"] for line in journal.read_text().splitlines()[1:]]
    assert images == [str(path) for path in sorted(folder.iterdir())], "each once"
    assert journal.read_text().splitlines()[1 : len(kept) + 1] == kept
    assert run(f"http://127.0.0.1:{free_port()}", "--resume", *arguments).stdout.splitlines(keepends=True) == rows
    other = run(service.url, "--resume", "--explain", *arguments)
    assert other.returncode == 2 and "other settings" in other.stderr


def test_memory_does_not_grow_with_the_number_of_photographs(service: Service, tmp_path: Path):
    folder = tiny_photographs(tmp_path / "folder", 300)
    with subprocess.Popen(
        [*COMMAND, "--jobs", "4", str(folder)],
        env=os.environ | {"MLBIO_URL": service.url},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        sizes = []
        for number, _ in enumerate(process.stdout):
            if number in (60, 298):
                sizes.append(psutil.Process(process.pid).memory_info().rss)
    assert process.returncode == 0
    assert sizes[1] - sizes[0] < 3e6, sizes


@pytest.mark.parametrize(("words", "completed"), [("--over", "--overlay"), ("--precision Im", "Importante")])
def test_shells_can_complete_the_command(words: str, completed: str):
    script = run("", "--completion", "bash").stdout
    script += f"\nCOMP_WORDS=(mlbio {words}); COMP_CWORD={len(words.split())}; _shtab_mlbio; echo ${{COMPREPLY[@]}}"
    finished = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=20)
    assert finished.stdout.strip() == completed, finished.stderr


def test_photographs_as_taken(service: Service, shared: Path, tmp_path: Path):
    """All 28 are answered, clearly more of them rightly than the original's 70 %, and some explained."""
    for path in (shared / "photos").glob("*.jpg"):
        shutil.copy(path, tmp_path / path.name)
    photographs = sorted(tmp_path.glob("*.jpg"))
    assert len(photographs) == 28
    finished = run(service.url, "--jobs", "4", *photographs)
    assert finished.returncode == 0, finished.stderr
    lines = finished.stdout.splitlines()
    assert len(lines) == 28
    with (shared / "photos/labels.csv").open() as file:
        truth = {row["file"]: CLASSES[row["dx"]] for row in csv.DictReader(file)}
    right = sum(truth[path.name] in line for path, line in zip(photographs, lines, strict=True))
    print(f"{right} of 28 photographs right")
    assert right >= 17  # four of each class: a classifier of the commonest class has 4 right
    explained = run(service.url, "--explain", "--precision", "Faible", *photographs[::14])
    assert explained.returncode == 0 and len(list(tmp_path.glob("*_explained.png"))) == 2
