"""``make promote``: what is refused, and what happens where no service runs."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api.archive import ARCHIVE, verify
from deploy import promote
from handler.engines.graphs import packed_version, sha256
from supervisor.promotion import PromotionError
from tests.conftest import ROOT
from train.archive import packed_card

SHIPPED = ROOT / "model_store"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model store with the shipped model and its card; no service runs."""
    for name in ("model_mlbio.pth", "score_card/score_card.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(SHIPPED / name, tmp_path / name)

    monkeypatch.setattr(promote, "find_service", lambda settings: None)
    return tmp_path


@pytest.fixture
def run(store: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, str]]]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def run(*arguments: object) -> tuple[int, str]:
        code = promote.main([str(a) for a in (*arguments, "--model-store", store)])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out + said.err

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def change_card(store: Path, **metrics: float) -> None:
    path = store / "score_card/score_card.json"
    card = json.loads(path.read_text())
    for name, value in metrics.items():
        card["metrics"][name] = {"value": value, "low": value, "high": value}
    path.write_text(json.dumps(card))


def test_without_a_service_the_archive_is_put_in_place_and_back(store: Path, run: Callable):
    code, said = run()
    version = sha256(store / "model_mlbio.pth")[:12]
    assert code == 0 and f"{version} is in place for the next start" in said
    assert verify(store / ARCHIVE) and packed_version(store / ARCHIVE) == version
    card = packed_card(store / ARCHIVE)
    assert card is not None and card.model is not None and card.model.sha256 == version

    # A worse model is refused, with the figure, and the served one stays.
    change_card(store, balanced_accuracy=0.5)
    before = sha256(store / ARCHIVE)
    code, said = run(store / "model_mlbio.pth")
    assert code == 1 and "balanced accuracy 0.500 is below" in said and "--force" in said
    assert sha256(store / ARCHIVE) == before

    code, said = run("--rollback")
    assert code == 1 and "nothing to go back to" in said
    assert list((store / "next").iterdir()) == []


def test_a_model_that_does_not_work_is_said_with_a_failing_exit_code(
    store: Path, run: Callable, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise PromotionError("the model cannot be loaded\nthe archive before is back, and predicts")

    monkeypatch.setattr(promote, "find_service", lambda settings: store)
    monkeypatch.setattr(promote, "restart_with", fail)
    monkeypatch.setattr(promote, "build", lambda model, archive: None)
    monkeypatch.setattr(promote, "packed_version", lambda archive: "new")
    code, said = run("--force")
    assert code == 1 and "cannot be loaded" in said and "is back" in said and "answers with" not in said
    assert list((store / "next").iterdir()) == []


def test_a_model_without_a_card_of_its_own_is_refused_with_the_command(store: Path, run: Callable):
    other = shutil.copy(store / "model_mlbio.pth", store / "other.pth")
    with Path(other).open("ab") as file:
        file.write(b"\0")
    code, said = run(other)
    assert code == 1 and "has no score card of its own" in said and "evaluate/main_evaluate.py" in said
    assert not (store / ARCHIVE).exists() and not (store / "next").exists()


@pytest.mark.parametrize("content", [None, b"no checkpoint"])
def test_what_is_no_model_is_said(store: Path, run: Callable, content: bytes | None):
    model = store / "none.pth"
    if content:
        model.write_bytes(content)
    code, said = run("--force", model)
    assert code == 2 and "promote: error: " in said and "none.pth" in said


def test_a_model_and_going_back_exclude_each_other(store: Path):
    with pytest.raises(SystemExit):
        promote.main(["--rollback", "model.pth"])
