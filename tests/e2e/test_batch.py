"""``scale/main_batch.py`` on a real Ray of this machine: interrupted, killed, continued, refused."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas
import psutil
import pytest

from scale.batch import CRASHES
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

COUNT = 40
FATAL = b"no decoder survives this"

CRASHING_DECODER = f"""
import os
from api import photograph
decode = photograph.open_photograph
photograph.open_photograph = lambda data, *rest: os._exit(9) if data == {FATAL!r} else decode(data, *rest)
"""


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory, example_images: list[Path]) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for i in range(COUNT):
        place = folder / f"patient {i % 3}" / f"{i:03}.jpg"
        place.parent.mkdir(exist_ok=True)
        shutil.copy(example_images[i % len(example_images)], place)
    (folder / "patient 0/broken.jpg").write_bytes(b"no picture")
    (folder / "patient 2/fatal.jpg").write_bytes(FATAL)
    (folder / "patient 1/dangling.jpg").symlink_to(folder / "nowhere.jpg")
    return folder


def start(photographs: Path, output: Path, *options: str) -> subprocess.Popen[str]:
    """With a decoder that crashes, which every Python process of it loads as it starts; RAY_ADDRESS is wrong."""
    (output.parent / "sitecustomize.py").write_text(CRASHING_DECODER)
    return subprocess.Popen(
        [sys.executable, ROOT / "scale/main_batch.py", photographs, "--output", output, *options],
        cwd=output.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "RAY_ADDRESS": "127.0.0.1:1", "PYTHONPATH": f"{output.parent}{os.pathsep}{ROOT}"},
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=240)
    assert "Traceback" not in err, err[-3000:]
    return process.returncode, out, err


def after_part(process: subprocess.Popen[str], output: Path, count: int = 1) -> dict[Path, int]:
    """The Parquet files and when each was written, as soon as there are so many of them."""
    deadline = time.monotonic() + 300
    while len(parts := {p: p.stat().st_mtime_ns for p in output.glob("part-*.parquet")}) < count:
        if time.monotonic() > deadline:
            process.kill()
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    return parts


def test_an_interrupted_and_killed_run_continues_and_names_what_it_cannot_read(photographs: Path, tmp_path: Path):
    output = tmp_path / "out"
    options = ("--shard", "2")
    process = start(photographs, output, *options)
    after_part(process, output)
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130 and err.rstrip().endswith("interrupted: the same command continues")

    process = start(photographs, output, *options)
    after_part(process, output, len(list(output.glob("part-*.parquet"))) + 1)
    started = psutil.Process(process.pid).children(recursive=True)
    pids = {p.pid for p in started}
    listening = {c.laddr.ip for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.pid in pids}
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
    # Ray's agents, which are idle, need a minute to notice that they are alone.
    started = [p for p in started if "Agent" not in p.name()]
    process.kill()
    process.communicate()
    assert psutil.wait_procs(started, timeout=30)[1] == []
    before = {p: p.stat().st_mtime_ns for p in output.glob("part-*.parquet")}
    assert 0 < len(before) < (COUNT + 3) // 2

    process = start(photographs, output, *options)
    code, out, err = finish(process)
    assert code == 1 and f"{COUNT + 3} photographs in {output}" in out and "3 of them not readable" in out
    assert f"{COUNT + 3}/{COUNT + 3}" in err and "photographs/s" in err
    assert all(p.stat().st_mtime_ns == stamp for p, stamp in before.items()), "what was done is not done again"
    table = pandas.read_parquet(output)
    assert len(table) == table["file"].nunique() == COUNT + 3
    assert table["prediction"].isna().sum() == 3
    with (output / "_errors.csv").open(newline="", encoding="utf-8-sig") as file:
        errors = {Path(row["file"]).name: row["error"] for row in csv.DictReader(file)}
    assert set(errors) == {"broken.jpg", "dangling.jpg", "fatal.jpg"} and errors["fatal.jpg"] == CRASHES

    code, _, err = finish(start(photographs, output, *options, "--explain", "Faible"))
    assert code == 2 and "another run" in err and "--explain" in err
