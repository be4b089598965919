"""The score card's figures that travel in the archive."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT
from train import archive
from train.archive import SCORE_CARD, PackError, flag_and_biases, score_card_of


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A file that the copied score card says it is of."""
    path = tmp_path / "model_mlbio.pth"
    path.write_bytes(b"weights")
    (tmp_path / SCORE_CARD).parent.mkdir()
    shutil.copy(ROOT / "model_store" / SCORE_CARD, tmp_path / SCORE_CARD)
    change(path, sha256=hashlib.sha256(b"weights").hexdigest()[:12])
    return path


def change(checkpoint: Path, **model: str) -> None:
    path = checkpoint.parent / SCORE_CARD
    card = json.loads(path.read_text())
    card["model"] |= model
    path.write_text(json.dumps(card))


def test_they_are_read_at_the_models_threshold(checkpoint: Path):
    card = json.loads((checkpoint.parent / SCORE_CARD).read_text())
    (point,) = [p for p in card["malignant"]["operating_points"] if p["rule"] == "malignant threshold"]
    figures, _ = flag_and_biases(score_card_of(checkpoint))
    assert figures is not None
    assert figures.sensitivity == point["sensitivity"]["value"]
    assert figures.false_alarm_rate == pytest.approx(1 - point["specificity"]["value"])


def test_the_trade_off_curve_has_the_flag_figures_and_thresholds_of_each_strength(checkpoint: Path):
    path = checkpoint.parent / SCORE_CARD
    card = json.loads(path.read_text())
    curve = card["trade_off"]
    for number, point in enumerate(curve["points"]):
        point["setting"]["plausible_threshold"] = number / 100 or None
    path.write_text(json.dumps(card))
    flag, biases = flag_and_biases(score_card_of(checkpoint))
    assert [b.strength for b in biases] == [p["setting"]["strength"] for p in curve["points"]]
    assert [b.malignant_threshold for b in biases] == [p["setting"]["malignant_threshold"] for p in curve["points"]]
    assert [b.plausible_threshold for b in biases] == [None, *(n / 100 for n in range(1, len(biases)))]
    (own,) = [b for b in biases if b.strength == curve["own"]]
    assert own.exponent == 1 and set(own.offsets.values()) == {0} and own.flag == flag
    assert len({b.flag for b in biases}) == len(biases)


def test_there_need_be_no_curve_and_no_card_of_this_model(checkpoint: Path):
    path = checkpoint.parent / SCORE_CARD
    card = json.loads(path.read_text())
    del card["trade_off"], card["robustness"]
    path.write_text(json.dumps(card))
    flag, biases = flag_and_biases(score_card_of(checkpoint))
    assert flag is not None and biases == []
    change(checkpoint, sha256="0123456789ab")
    assert flag_and_biases(score_card_of(checkpoint)) == (None, [])
    path.unlink()
    assert flag_and_biases(score_card_of(checkpoint)) == (None, [])


def test_a_broken_card_is_refused(checkpoint: Path):
    (checkpoint.parent / SCORE_CARD).write_text("{}")
    with pytest.raises(PackError, match="make it again"):
        flag_and_biases(score_card_of(checkpoint))


def test_an_archive_that_is_packed_in_place_is_no_longer_a_promoted_one(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(archive, "build", lambda checkpoint, output: output.touch())
    marker = tmp_path / archive.PROMOTED
    marker.touch()
    assert archive.main(["--output", str(tmp_path / "next.mar")]) == 0 and marker.exists()
    assert archive.main(["--output", str(tmp_path / archive.ARCHIVE)]) == 0 and not marker.exists()
