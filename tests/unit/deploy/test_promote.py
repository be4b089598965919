"""``make promote``: what is refused, and what happens where no service runs."""

from __future__ import annotations

import json
import shutil
import signal
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api.archive import ARCHIVE, verify
from deploy import promote
from handler.engines.graphs import packed_version, sha256
from tests.conftest import ROOT

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
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return code, printed.out + printed.err

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def change_card(store: Path, **metrics: float) -> None:
    path = store / "score_card/score_card.json"
    card = json.loads(path.read_text())
    for name, value in metrics.items():
        card["metrics"][name] = {"value": value, "low": value, "high": value}
    path.write_text(json.dumps(card))


@pytest.mark.slow
def test_without_a_service_the_archive_is_put_in_place_for_the_next_start(store: Path, run: Callable):
    code, printed = run()
    version = sha256(store / "model_mlbio.pth")[:12]
    assert code == 0 and f"{version} is in place for the next start" in printed
    assert verify(store / ARCHIVE) and packed_version(store / ARCHIVE) == version

    # A worse model is refused, with the figure, and the served one stays.
    change_card(store, balanced_accuracy=0.5)
    before = sha256(store / ARCHIVE)
    code, printed = run(store / "model_mlbio.pth")
    assert code == 1 and "balanced accuracy 0.500 is below" in printed and "--force" in printed
    assert sha256(store / ARCHIVE) == before

    code, printed = run("--rollback")
    assert code == 1 and "nothing to go back to" in printed
    assert not (store / "next").exists()


@pytest.mark.parametrize("fault", ["no archive", "code that cannot be imported"])
def test_an_archive_that_cannot_be_loaded_is_refused_before_the_service_is_interrupted(
    store: Path, run: Callable, monkeypatch: pytest.MonkeyPatch, fault: str
):
    """Such as one of before an update of the packages."""

    def write(model: Path, archive: Path) -> None:
        archive.parent.mkdir()
        with zipfile.ZipFile(archive, "w") as files:
            files.writestr("service.py", "import no_such_package")
        if fault == "no archive":
            archive.write_text("damaged")

    monkeypatch.setattr(promote, "find_service", lambda settings: store)
    monkeypatch.setattr(promote, "promote", lambda *_: pytest.fail("the service was interrupted"))
    monkeypatch.setattr(promote, "build", write)
    monkeypatch.setattr(promote, "packed_version", lambda archive: "new")
    code, printed = run("--force")
    assert code == 1 and "the model cannot be loaded: " in printed
    assert "no_such_package" in printed or fault == "no archive"
    assert not (store / "next").exists()


def test_a_model_without_a_card_of_its_own_is_refused_with_the_command(store: Path, run: Callable):
    other = shutil.copy(store / "model_mlbio.pth", store / "other.pth")
    with Path(other).open("ab") as file:
        file.write(b"\0")
    code, printed = run(other)
    assert code == 1 and "has no score card of its own" in printed and "evaluate/main_evaluate.py" in printed
    assert not (store / ARCHIVE).exists() and not (store / "next").exists()


@pytest.mark.parametrize("content", [None, b"no checkpoint"])
def test_what_is_no_model_is_reported(store: Path, run: Callable, content: bytes | None):
    model = store / "none.pth"
    if content:
        model.write_bytes(content)
    code, printed = run("--force", model)
    assert code == 2 and "promote: error: " in printed and "none.pth" in printed


def test_a_mistyped_name_of_a_model_is_not_called_a_missing_score_card(store: Path, run: Callable):
    code, printed = run(store / "nothere.pth")
    assert code == 2 and "nothere.pth does not exist" in printed
