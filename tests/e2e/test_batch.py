"""``deploy/batch.py`` on a real Ray of this machine: killed, interrupted, gone on with, refused."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow.dataset
import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

COUNT = 40


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory, example_images: list[Path]) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for i in range(COUNT):
        place = folder / f"patient {i % 3}" / f"{i:03}.jpg"
        place.parent.mkdir(exist_ok=True)
        shutil.copy(example_images[i % len(example_images)], place)
    (folder / "patient 0/broken.jpg").write_bytes(b"no picture")
    (folder / "patient 1/dangling.jpg").symlink_to(folder / "nowhere.jpg")
    return folder


def start(photographs: Path, output: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, ROOT / "deploy/batch.py", photographs, "--output", output, *options],
        cwd=output.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=240)
    assert "Traceback" not in err, err[-3000:]
    return process.returncode, out, err


def after_first_part(process: subprocess.Popen[str], output: Path) -> set[str]:
    deadline = time.monotonic() + 300
    while not (parts := {p.name for p in output.glob("part-*.parquet")}):
        if time.monotonic() > deadline:
            process.kill()
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    return parts


def test_a_killed_run_goes_on_and_names_what_it_cannot_read(photographs: Path, tmp_path: Path):
    output = tmp_path / "out"
    options = ("--shard", "2")
    process = start(photographs, output, *options)
    children = psutil.Process(process.pid)
    after_first_part(process, output)
    # Ray's agents, which are idle, need a minute to notice that they are alone.
    started = [p for p in children.children(recursive=True) if "Agent" not in p.name()]
    assert started
    process.kill()
    process.communicate()
    assert psutil.wait_procs(started, timeout=30)[1] == []
    before = {p: p.stat().st_mtime_ns for p in output.glob("part-*.parquet")}
    assert 0 < len(before) < (COUNT + 2) // 2

    process = start(photographs, output, *options)
    code, out, err = finish(process)
    assert code == 0 and f"{COUNT + 2} photographs in {output}" in out and "2 of them not readable" in out
    assert "42/42" in err and "photographs/s" in err
    assert all(p.stat().st_mtime_ns == stamp for p, stamp in before.items())
    table = pyarrow.dataset.dataset(sorted(output.glob("part-*.parquet"))).to_table()
    files = table.column("file").to_pylist()
    assert len(files) == len(set(files)) == COUNT + 2
    assert table.column("prediction").null_count == 2
    with (output / "errors.csv").open(newline="") as file:
        errors = {Path(row["file"]).name: row["error"] for row in csv.DictReader(file)}
    assert set(errors) == {"broken.jpg", "dangling.jpg"} and all(errors.values())

    code, _, err = finish(start(photographs, output, *options, "--explain", "Faible"))
    assert code == 2 and "another run" in err and "--explain" in err


def test_an_interrupted_run_says_how_to_go_on(photographs: Path, tmp_path: Path):
    process = start(photographs, tmp_path / "out", "--shard", "1", "--explain", "low")
    after_first_part(process, tmp_path / "out")
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130 and err.rstrip().endswith("interrupted: the same command goes on")
