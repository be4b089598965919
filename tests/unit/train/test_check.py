"""``main_train.py --check``: all faults of a data set at once, and the class counts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from evaluate.dataset import FOLDERS
from tests.conftest import ROOT
from tests.tiny_ham10000 import change_metadata, make_root, train_folder
from tests.tiny_sources import make_sources
from train.check import check


def test_a_data_set_without_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root, also = make_root(tmp_path / "ham", side=72), make_sources(tmp_path / "elsewhere")
    (root / FOLDERS["test"]).symlink_to(train_folder(root))
    assert check(root, [also]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "train: 28 images (akiec 4, bcc 4, bkl 4, df 4, mel 4, nv 4, vasc 4)",
        "test: 28 images (akiec 4, bcc 4, bkl 4, df 4, mel 4, nv 4, vasc 4)",
        "other sources: 28 of bcn, 56 of milk10k; 12 of other diseases are left out (scc 12)",
        "no faults in 152 images",
    ]


def test_every_fault_is_listed_in_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root, also = make_root(tmp_path / "ham", side=72), make_sources(tmp_path / "elsewhere")
    images = sorted(train_folder(root).rglob("*.jpg"), key=lambda path: path.name)
    images[0].write_bytes(images[0].read_bytes()[:-400])  # cut short
    images[1].write_bytes(b"<html>")
    images[2].write_bytes(b"")
    (train_folder(root) / "ISIC_1.NEF").write_bytes(b"content")
    change_metadata(root, lambda text: text.replace("ISIC_0000003,akiec", "ISIC_0000003,wart"))
    picture = next(also.rglob("bcn_mel_8.png"))
    picture.write_bytes(picture.read_bytes()[:100])
    assert check(root, [also]) == 2
    printed = capsys.readouterr()
    for fault in (
        "ISIC_0000000.jpg: the image is damaged",
        "ISIC_0000001.jpg: not an image",
        "ISIC_0000002.jpg is empty",
        "ISIC_1.NEF is a camera's RAW file",
        "line 5: found the diagnosis 'wart'",
        "bcn_mel_8.png: the image is damaged",
        f"{FOLDERS['test']} is missing",
        "7 faults in ",
    ):
        assert printed.err.count(fault) == 1, fault
    assert "train: 26 images (akiec 2, " in printed.out


def test_it_answers_without_torch(tmp_path: Path):
    command = [sys.executable, "-X", "importtime", "train/main_train.py", str(tmp_path), "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and "HAM10000_images_train is missing" in done.stderr
    assert "torch" not in {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
