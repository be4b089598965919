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


def start(url: str, *arguments: object, **options) -> subprocess.Popen[str]:
    return subprocess.Popen([*COMMAND, *map(str, arguments)], env=os.environ | {"MLBIO_URL": url}, text=True, **options)


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


def test_a_line_for_each_photograph_and_one_that_fails_does_not_stop_the_others(
    service: Service, example_images: list[Path], tmp_path: Path
):
    broken, empty = tmp_path / "broken.jpg", tmp_path / "empty"
    broken.write_text("no photograph")
    empty.mkdir()
    finished = run(service.url, broken, tmp_path / "missing.jpg", empty, *example_images)
    assert finished.returncode == 1
    lines, errors = finished.stdout.splitlines(), finished.stderr.splitlines()
    for line, path in zip(lines, example_images, strict=True):
        name, percent = re.fullmatch(re.escape(str(path)) + r": (.+?) \((\d+\.\d)%\)(?:;.*)?", line).groups()
        answer = service.predict({"image": encode(path.read_bytes())}).json()
        assert name == answer["prediction"] and float(percent) == pytest.approx(100 * answer["probability"], abs=0.06)
    for error, words in zip(errors, ("broken.jpg: .*JPEG", "missing.jpg: .*No such file", "empty: "), strict=True):
        assert re.search(words, error)


def test_a_picture_of_the_explanation_is_saved_next_to_the_photograph(
    service: Service, example_images: list[Path], tmp_path: Path
):
    shutil.copy(example_images[0], tmp_path / "mole.jpg")
    command = [service.url, "--explain", "--precision", "Faible"]
    finished = run(*command, tmp_path / "mole.jpg")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.endswith(f" -> {tmp_path / 'mole_explained.png'}\n")
    picture = np.asarray(Image.open(tmp_path / "mole_explained.png"))
    assert picture.shape == (224, 224, 3) and (picture == (0, 255, 0)).all(axis=2).any()
    again = run(*command, tmp_path / "mole_explained.png", tmp_path / "mole.jpg")
    assert again.stdout == finished.stdout, "the picture is not explained; the photograph's is made again"
    assert "left out" in again.stderr and again.returncode == 0
    assert len(list(tmp_path.iterdir())) == 2


def test_an_overlay_is_as_large_as_the_photograph(service: Service, example_images, tmp_path: Path):
    arguments = ["--overlay", "heatmap", "--precision", "Faible", "--output", tmp_path, example_images[0]]
    finished = run(service.url, *arguments)
    assert finished.returncode == 0, finished.stderr
    with Image.open(example_images[0]) as photograph:
        before = np.asarray(photograph.convert("RGB"), float)
    after = np.asarray(Image.open(tmp_path / f"{example_images[0].stem}_explained.png"), float)
    assert after.shape == before.shape
    bluer = (after - before)[..., 2] - (after - before)[..., 0]
    assert bluer.max() > 30, "something supports the diagnosis"


def test_a_diagnosis_is_kept_when_its_picture_cannot_be_written(service: Service, example_images, tmp_path: Path):
    (tmp_path / "output").mkdir()
    (tmp_path / "output/folder").write_text("where a folder would be needed")
    photographs = tmp_path / "photographs/folder"
    photographs.mkdir(parents=True)
    shutil.copy(example_images[0], photographs)
    arguments = ["--json", "--explain", "--precision", "low", "--output", tmp_path / "output", photographs.parent]
    finished = run(service.url, *arguments)
    row = json.loads(finished.stdout)
    assert finished.returncode == 1 and row["prediction"] in CLASSES.values() and row["picture"] is None
    assert "cannot be written" in row["error"] and "cannot be written" in finished.stderr


def test_no_service_says_how_to_start_it(example_images: list[Path]):
    finished = run(f"http://127.0.0.1:{free_port()}", *example_images)
    assert finished.returncode == 1
    assert len(finished.stderr.splitlines()) == 1, "the others are not tried"
    assert "make serve" in finished.stderr and "Traceback" not in finished.stderr


def test_another_program_at_the_address_is_named(service: Service, example_images: list[Path]):
    finished = run(service.torchserve_url, *example_images)
    assert finished.returncode == 1 and "not an MLBIO service" in finished.stderr
    assert len(finished.stderr.splitlines()) == 1, "the other photographs are not sent to it"


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
    rows = list(csv.DictReader(run(service.url, "--csv", "--top", "2", example_images[0], missing).stdout.splitlines()))
    assert [row["image"] for row in rows] == [str(example_images[0]), str(missing)]
    assert (rows[0]["prediction"], rows[0]["prediction_2"]) == (first[0], second[0])
    assert rows[0]["plausible"] == "; ".join(plausible or [])
    assert rows[1]["prediction"] == "" and "No such file" in rows[1]["error"]


def test_folders_patterns_and_stdin_in_order(service: Service, example_images: list[Path], tmp_path: Path):
    folder = tiny_photographs(tmp_path / "folder", 9)
    for kind in (folder, folder / "*.png"):
        lines = run(service.url, "--jobs", "4", kind).stdout.splitlines()
        assert [line.split(": ")[0] for line in lines] == [str(folder / f"{n:04}.png") for n in range(9)]
    with example_images[0].open("rb") as file:
        finished = run("http://127.0.0.1:9", "-", "--url", service.url, stdin=file)
    expected = run(service.url, example_images[0]).stdout
    assert finished.stdout.partition(": ")[2] == expected.partition(": ")[2] and finished.stdout.startswith("-: ")


def test_a_reader_that_leaves_and_a_full_disk_are_a_line_at_most(service: Service, tmp_path: Path):
    folder = tiny_photographs(tmp_path / "folder", 40)
    script = f"{' '.join([*COMMAND, str(folder)])} | head -2; echo ${{PIPESTATUS[0]}}"
    environment = os.environ | {"MLBIO_URL": service.url}
    finished = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert finished.stderr == "" and finished.stdout.splitlines()[2:] == ["141"]
    with open("/dev/full", "w") as full:
        finished = run(service.url, folder, stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert finished.returncode == 1
    assert finished.stderr == "client.py: the output cannot be written (No space left on device)\n"


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_during_an_explanation_is_a_line(service: Service, tmp_path: Path, jobs: int):
    Image.new("RGB", (64, 64), (210, 170, 150)).save(tmp_path / "skin.png")
    arguments = ["--explain", "--precision", "high", "--jobs", jobs, tmp_path]

    def restore() -> None:  # a shell's background jobs ignore SIGINT, and so would whatever they start
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with start(service.url, *arguments, stderr=subprocess.PIPE, preexec_fn=restore) as process:
        url = f"{service.url}/metrics"
        wait_for(lambda: 'requests{pool="mlbio_explain"} 0.0' not in requests.get(url, timeout=10).text, 30)
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        assert process.wait(20) == 130
        assert process.stderr.read() == "client.py: interrupted\n" and time.monotonic() - begun < 10


def test_a_terminal_shows_the_progress_of_an_explanation_and_then_erases_it(service: Service, example_images, tmp_path):
    shutil.copy(example_images[0], tmp_path / "mole.jpg")
    seen = in_terminal(service.url, "--explain", "--precision", "Faible", tmp_path / "mole.jpg", columns=120)
    shares = [int(share) for share in re.findall(r"mole.jpg: explaining, (\d+)%", seen)]
    assert shares == sorted(shares) and shares[0] == 0 < shares[-1]
    assert re.search(r"\r +\r[^\r]*mole_explained.png\r\n", seen), "the line of progress does not touch the result"
    assert re.search(r"\r *\r$", seen), "and is gone at the end"


@pytest.mark.parametrize("columns", [20, 60])
def test_a_terminal_of_any_width(service: Service, tmp_path: Path, columns: int):
    folder = tiny_photographs(tmp_path / ("long" * 20), 3)
    seen = in_terminal(service.url, folder, columns=columns)
    assert "0/3 [" in seen and "2/3 [" in seen
    assert all(len(part) <= columns for part in re.split("[\r\n]", seen) if "/3 [" in part)
    assert len(re.findall(r"\r +\r[^\r]*\.png  [^\r]*\r\n", seen)) == 3, "the line of progress touches no result"


def test_colour_and_cursor_are_for_terminals_that_want_them(service: Service, tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    photographs = [tmp_path / "noise.png"] * 2
    assert "\x1b[33munlike the photographs that the model knows" in in_terminal(service.url, *photographs, columns=200)
    assert "\x1b[33m" not in in_terminal(service.url, *photographs, NO_COLOR="1")
    assert "\x1b" not in in_terminal(service.url, *photographs, TERM="dumb")


def test_a_killed_run_goes_on_with_the_same_rows(service: Service, tmp_path: Path):
    folder, output = tiny_photographs(tmp_path / "folder", 60), tmp_path / "output"
    arguments = ["--json", "--jobs", "2", "--output", output, folder]
    with start(service.url, *arguments, stdout=subprocess.PIPE) as process:
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
    lines = journal.read_text().splitlines()[1:]
    assert [json.loads(line)["image"] for line in lines] == [str(path) for path in sorted(folder.iterdir())]
    assert lines[: len(kept)] == kept
    assert run(f"http://127.0.0.1:{free_port()}", "--resume", *arguments).stdout.splitlines(keepends=True) == rows
    other = run(service.url, "--resume", "--explain", *arguments)
    assert other.returncode == 2 and "other settings" in other.stderr


def test_memory_does_not_grow_with_the_number_of_photographs(service: Service, tmp_path: Path):
    folder = tiny_photographs(tmp_path / "folder", 300)
    with start(service.url, "--jobs", "4", folder, stdout=subprocess.PIPE) as process:
        sizes = []
        for number, _ in enumerate(process.stdout):
            if number in (60, 298):
                sizes.append(psutil.Process(process.pid).memory_info().rss)
    assert process.returncode == 0
    assert sizes[1] - sizes[0] < 3e6, sizes


def test_shells_can_complete_the_command():
    script = run("", "--completion", "bash").stdout
    for words in ("--over", "--precision Im"):
        script += f"\nCOMP_WORDS=(mlbio {words}); COMP_CWORD={len(words.split())}; _shtab_mlbio; echo ${{COMPREPLY[@]}}"
    finished = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=20)
    assert finished.stdout.split() == ["--overlay", "Importante"], finished.stderr


def test_photographs_as_taken(service: Service, shared: Path):
    """All 28 are answered, clearly more of them rightly than by a classifier of the commonest class, with 4."""
    photographs = sorted((shared / "photos").glob("*.jpg"))
    finished = run(service.url, "--csv", "--jobs", "4", *photographs)
    assert finished.returncode == 0, finished.stderr
    with (shared / "photos/labels.csv").open() as file:
        truth = {row["file"]: CLASSES[row["dx"]] for row in csv.DictReader(file)}
    rows = list(csv.DictReader(finished.stdout.splitlines()))
    right = sum(truth[Path(row["image"]).name] == row["prediction"] for row in rows)
    print(f"{right} of {len(rows)} photographs right")
    assert len(rows) == 28 and right >= 17
