"""The command that computes a score card."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from api.classes import CLASSES
from api.photograph import open_photograph
from evaluate import evaluation, main_compare, main_evaluate
from evaluate.dataset import FOLDERS, Example, find_examples, split_by_lesion
from evaluate.predictions import Predictions
from evaluate.report import PICTURES
from handler.engines.graphs import Graphs
from handler.model.checkpoint import Checkpoint
from handler.model.images import network_square
from tests.conftest import ROOT
from tests.tiny_ham10000 import make_root
from tests.tiny_sources import make_sources
from tests.unit.evaluate.sets import BCC, confident


class FirstPixel:
    """A classifier that has its classes in another order and predicts by the first pixel."""

    classes = list(reversed(CLASSES))
    has_novelty, used = False, False

    def __init__(self, graphs: Graphs, arithmetic: str, classes: list[str]) -> None:
        pass

    def assess(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        FirstPixel.used = True
        first = pixels[:, 0, 0, 0]
        return confident((first % 7).tolist(), 0.61), np.where(self.has_novelty, first / np.float32(60), np.nan)

    def sample_probabilities(self, pixels: np.ndarray) -> np.ndarray:
        return confident((pixels[:, 0, 0, 0] % 7).tolist(), 0.62)


@pytest.fixture
def classifier(monkeypatch) -> type[FirstPixel]:
    monkeypatch.setattr(evaluation, "Classifier", FirstPixel)
    monkeypatch.setattr(FirstPixel, "used", False)
    monkeypatch.setattr(evaluation, "BATCH", 4)
    # Only whether there is a graph in 8 bits is looked at.
    monkeypatch.setattr(evaluation, "convert", lambda checkpoint: Graphs("answers", checkpoint.ranges and "samples"))
    monkeypatch.setattr(evaluation, "has_bfloat16", lambda: False)
    return FirstPixel


def run(capsys, *arguments: object) -> str:
    assert main_evaluate.main([str(a) for a in arguments]) == 0
    captured = capsys.readouterr()
    assert "error" not in captured.err
    return captured.out


def refusal(capsys, *arguments: object) -> str:
    code = main_evaluate.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    assert code == 2 and captured.out == ""
    assert captured.err.startswith("main_evaluate.py: error: ") and captured.err.count("\n") <= 10
    return captured.err


FILES = {"score_card.json", "score_card.md", "probabilities.csv", "arithmetic.json", *PICTURES}


def test_a_run_writes_the_card_and_its_predictions_give_the_same(capsys, photographs, tmp_path, classifier):
    options, first, again = ("--resamples", 40, "--seed", 7), tmp_path / "new/first", tmp_path / "again"
    labels = photographs / "labels.csv"
    printed = run(capsys, "--images", photographs, "--labels", labels, "--output", first, *options)
    assert {p.name for p in first.iterdir()} == FILES
    assert (first / "score_card.md").read_text() == printed
    assert printed.startswith("9 images of 5 lesions, one forward pass each by model_mlbio.pth (SHA-256 ")
    stored = Predictions.read(first / "probabilities.csv")
    squares = [network_square(open_photograph((photographs / e.path).read_bytes())) for e in stored.examples]
    expected = [6 - int(s[0, 0, 0]) % 7 for s in squares]  # back from the classifier's order
    assert stored.probabilities.argmax(1).tolist() == expected
    assert stored.examples[8] == Example(Path("deep/8.png"), BCC, "L4", 38.0, "male", "back")
    assert stored.novelty is None
    assert str(tmp_path) not in "".join(p.read_text() for p in first.iterdir() if p.suffix != ".png")
    assert run(capsys, "--probabilities", first / "probabilities.csv", "--output", again, *options) == printed
    for name in FILES:
        assert (again / name).read_bytes() == (first / name).read_bytes(), name


@pytest.fixture
def several(tmp_path, classifier, monkeypatch) -> tuple[Path, Path]:
    """HAM10000's folder, whose test part repeats some of its training part, and a folder of other sources."""
    root = make_root(tmp_path / "ham")
    examples = find_examples(root, "train")
    (root / FOLDERS["test"]).mkdir()
    for example in examples[::3]:
        (root / FOLDERS["test"] / example.path.name).write_bytes(example.path.read_bytes())
    train, _ = split_by_lesion(examples, 0.1, 0)
    facts = {"malignant_threshold": 0.4, "plausible_threshold": 0.06, "training": {"images": len(train)}}
    monkeypatch.setattr(evaluation.Checkpoint, "load", lambda path: Checkpoint({}, **facts))
    monkeypatch.setattr(classifier, "has_novelty", True)
    return root, make_sources(tmp_path / "elsewhere")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_other_sources_have_a_card_of_their_own(capsys, several, tmp_path):
    (root, folder), few, alone, both = several, ("--resamples", 20), tmp_path / "alone", tmp_path / "both"
    printed = run(capsys, root, "--output", alone, *few)
    assert not (alone / "elsewhere").exists()
    assert "| malignant threshold | 0.4000 | " in printed and "a probability of at least 0.0600" in printed
    flagged = (Predictions.read(alone / "probabilities.csv").novelty > 1).mean()
    assert f"Flagged as unlike the training images: {flagged:.3f}" in printed
    with_others = run(capsys, root, "--also", folder, "--output", both, *few)
    elsewhere = both / "elsewhere"
    assert contents(both) == contents(alone) and set(contents(elsewhere)) == FILES | {"other_diseases.csv"}
    assert with_others == printed + "\n" + (elsewhere / "score_card.md").read_text()
    made = contents(elsewhere)
    stored = Predictions.read(elsewhere / "probabilities.csv")
    assert [e.label for e in stored.examples] == list(range(7)) * (len(stored.examples) // 7)
    assert {e.source for e in stored.examples} == {"milk10k"} and all(e.skin_tone for e in stored.examples)
    card = json.loads(made["score_card.json"])
    scc = card["other_diseases"]["scc"]
    assert scc["images"] == 12 and scc["sources"]["bcn"]["images"] == 4
    assert sum(share["value"] for share in scc["diagnoses"].values()) == pytest.approx(1, abs=1e-5)
    assert list(card["groups"]["source"]) == ["milk10k"] and "skin tone" in card["groups"]

    again = tmp_path / "again"
    run(capsys, "--probabilities", elsewhere / "probabilities.csv", "--output", again, *few)
    assert contents(again) == made
    run(capsys, root, "--output", both, *few)
    assert contents(elsewhere) == made
    answers = str(elsewhere / "probabilities.csv")
    assert main_compare.main(["--answers", answers, "--with", answers, "--resamples", "2"]) == 0
    assert f"{len(stored.examples)} answers" in capsys.readouterr().out


def test_other_sources_of_which_nothing_is_held_out_are_refused(capsys, several, tmp_path):
    root, folder = several
    table = folder / "metadata.csv"
    table.write_text(table.read_text().replace(",milk10k,", ",clinic,"))
    assert "--also has too few photographs of milk10k to hold some out" in refusal(
        capsys, root, "--also", folder, "--output", tmp_path / "card"
    )
    assert not (tmp_path / "card").exists()


def test_the_default_folder_of_a_card():
    def default(*arguments: str) -> Path:
        return main_evaluate.default_output(main_evaluate.parse([*arguments]))

    store = ROOT / "model_store"
    assert default("ROOT") == store / "score_card"
    assert default("--images", "some/clinic", "--labels", "x.csv") == store / "score_card_clinic"
    assert default("--probabilities", "card/probabilities.csv") == Path("card")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "one of the arguments root --images --probabilities is required"),
        (["--images", "DIR", "--probabilities", "CSV"], "--probabilities: not allowed with argument --images"),
        (["--images", "DIR"], "--images and --labels belong together: give both"),
        (["--probabilities", "CSV", "--also", "DIR"], "--also adds to the images of root: give root"),
        (["ROOT", "--seed", "-1"], "-1 is not a whole number of at least 0"),
    ],
)
def test_options_that_do_not_belong_together_are_refused(capsys, arguments, expected):
    with pytest.raises(SystemExit) as done:
        main_evaluate.main(arguments)
    assert done.value.code == 2 and expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nowhere"], "nowhere is not a folder: give the one that holds HAM10000_metadata.csv"),
        (["--probabilities", "nowhere.csv"], "nowhere.csv is missing: it holds a row per image (columns file, dx,"),
        (["x" * 5000], "File name too long"),
    ],
)
def test_a_path_that_does_not_exist_is_refused(capsys, arguments, expected):
    assert expected in refusal(capsys, *arguments)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [("labels.csv", b"file,dx\n0.png,scc", "line 2: found the diagnosis 'scc'"),
     ("deep/8.png", b"no image", "8.png: not an image that can be read")],
)  # fmt: skip
def test_a_fault_of_the_set_is_named(capsys, photographs, tmp_path, classifier, name, content, expected):
    (photographs / name).write_bytes(content)
    arguments = "--images", photographs, "--labels", photographs / "labels.csv", "--output", tmp_path / "card"
    assert expected in refusal(capsys, *arguments)
    assert not (tmp_path / "card/score_card.json").exists()


def test_a_file_that_is_no_model_is_refused(capsys, photographs, tmp_path):
    images = "--images", photographs, "--labels", photographs / "labels.csv", "--output", tmp_path / "card"
    assert "none.pth does not exist" in refusal(capsys, *images, "--modelname", tmp_path / "none.pth")
    assert "is not a checkpoint" in refusal(capsys, *images, "--modelname", photographs / "labels.csv")
    assert not (tmp_path / "card").exists()


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_classified(
    capsys, photographs, tmp_path, classifier
):
    (tmp_path / "file").write_text("")
    images = "--images", photographs, "--labels", photographs / "labels.csv"
    message = refusal(capsys, *images, "--output", tmp_path / "file/card")
    assert f"--output {tmp_path / 'file/card'} cannot be written (" in message
    assert not classifier.used
    (tmp_path / "card/score_card.md").mkdir(parents=True)
    assert "cannot be written (Is a directory)" in refusal(capsys, *images, "--output", tmp_path / "card")
