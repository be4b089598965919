"""The command that computes a score card."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api.classes import CLASSES
from api.photograph import open_photograph
from evaluate import evaluation, main_compare, main_evaluate, report
from evaluate.dataset import FOLDERS, METADATA, Example, find_examples, split_by_lesion
from evaluate.predictions import Predictions
from handler.engines.graphs import Graphs
from handler.model.checkpoint import Checkpoint
from handler.model.images import network_square
from tests.conftest import ROOT
from tests.tiny_ham10000 import make_root
from tests.tiny_sources import make_sources
from tests.unit.evaluate.sets import BCC, NV, confident, relabel


class Drawn:
    """A classifier that knows its classes in another order and answers by the first pixel."""

    classes = list(reversed(CLASSES))
    batches: list[int] = []
    tells_novelty = False

    def __init__(self, graphs: Graphs, arithmetic: str, classes: list[str]) -> None:
        self.batches.clear()

    def assess(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert pixels.dtype == np.uint8 and pixels.shape[1:] == (224, 224, 3)
        self.batches.append(len(pixels))
        first = pixels[:, 0, 0, 0]
        return confident((first % 7).tolist(), 0.61), np.where(self.tells_novelty, first / np.float32(60), np.nan)

    def sample_probabilities(self, pixels: np.ndarray) -> np.ndarray:
        return confident((pixels[:, 0, 0, 0] % 7).tolist(), 0.62)


@pytest.fixture
def drawn(monkeypatch) -> type[Drawn]:
    monkeypatch.setattr(evaluation, "Classifier", Drawn)
    # Only whether there is a graph in 8 bits is looked at.
    monkeypatch.setattr(evaluation, "convert", lambda checkpoint: Graphs("answers", checkpoint.ranges and "samples"))
    monkeypatch.setattr(evaluation, "has_bfloat16", lambda: False)
    return Drawn


def run(capsys, *arguments: object) -> str:
    assert main_evaluate.main([str(a) for a in arguments]) == 0
    captured = capsys.readouterr()
    assert "error" not in captured.err
    return captured.out


def refusal(capsys, *arguments: object) -> str:
    code = main_evaluate.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    assert code == 2 and captured.out == ""
    assert captured.err.startswith("main_evaluate.py: error: ") and captured.err.count("\n") == 1
    return captured.err


FILES = {"score_card.json", "score_card.md", "probabilities.csv", "arithmetic.json", *report.PICTURES}


def test_a_run_writes_the_card_and_kept_answers_write_the_same(capsys, photographs, tmp_path, drawn):
    monkey, first, again = ("--resamples", 40, "--seed", 7), tmp_path / "new/first", tmp_path / "again"
    printed = run(
        capsys, "--images", photographs, "--labels", photographs / "labels.csv", "--output", first, *monkey
    )  # fmt: skip
    assert {p.name for p in first.iterdir()} == FILES
    assert (first / "score_card.md").read_text() == printed
    assert printed.startswith("9 images of 5 lesions, one forward pass each by model_mlbio.pth (SHA-256 ")
    kept = Predictions.read(first / "probabilities.csv")
    squares = [network_square(open_photograph((photographs / e.path).read_bytes())) for e in kept.examples]
    expected = [6 - int(s[0, 0, 0]) % 7 for s in squares]  # back from the classifier's order
    assert kept.probabilities.argmax(1).tolist() == expected
    assert kept.examples[8] == Example(Path("deep/8.png"), BCC, "L4", 38.0, "male", "back")
    assert str(tmp_path) not in "".join(p.read_text() for p in first.iterdir() if p.suffix != ".png")
    assert run(capsys, "--probabilities", first / "probabilities.csv", "--output", again, *monkey) == printed
    for name in FILES:
        assert (again / name).read_bytes() == (first / name).read_bytes(), name


def test_the_test_images_are_asked_in_batches(capsys, tmp_path, drawn):
    folder = tmp_path / FOLDERS["test"]
    folder.mkdir()
    for i in range(70):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(folder / f"{i:02d}.png")
    rows = [f"L{i},{i:02d},nv" for i in range(70)]
    (tmp_path / METADATA).write_text("\n".join(["lesion_id,image_id,dx", *rows]))
    assert "70 images of 70 lesions" in run(capsys, tmp_path, "--output", tmp_path / "card", "--resamples", 5)
    assert drawn.batches == [32, 32, 6]
    answers = Predictions.read(tmp_path / "card/probabilities.csv")
    assert answers.examples[69] == Example(Path("69.png"), NV, "L69")
    assert answers.probabilities.argmax(1).tolist() == [6 - i % 7 for i in range(70)]
    assert answers.novelty is None


def test_what_the_checkpoint_knows_more_is_in_the_card(capsys, tmp_path, photographs, drawn, monkeypatch):
    checkpoint = Checkpoint.load(ROOT / "model_store/model_mlbio.pth")
    checkpoint.malignant_threshold, checkpoint.plausible_threshold = 0.31, 0.0625
    monkeypatch.setattr(evaluation.Checkpoint, "load", lambda path: checkpoint)
    monkeypatch.setattr(drawn, "tells_novelty", True)
    arguments = "--images", photographs, "--labels", photographs / "labels.csv", "--output", tmp_path, "--resamples", 5
    printed = run(capsys, *arguments)
    assert "| malignant threshold | 0.3100 | " in printed and "a probability of at least 0.0625" in printed
    flagged = (Predictions.read(tmp_path / "probabilities.csv").novelty > 1).mean()
    assert f"Flagged as unlike the training images: {flagged:.3f}" in printed


@pytest.fixture
def several(tmp_path, drawn, monkeypatch) -> tuple[Path, Path]:
    """HAM10000's folder, whose test part repeats some of its training part, and a folder of other sources.

    The model learned from the former, and has both thresholds.
    """
    root = make_root(tmp_path / "ham")
    examples = find_examples(root, "train")
    (root / FOLDERS["test"]).mkdir()
    for example in examples[::3]:
        (root / FOLDERS["test"] / example.path.name).write_bytes(example.path.read_bytes())
    learned, _ = split_by_lesion(examples, 0.1, 0)
    facts = {"malignant_threshold": 0.4, "plausible_threshold": 0.06, "training": {"images": len(learned)}}
    monkeypatch.setattr(evaluation.Checkpoint, "load", lambda path: Checkpoint({}, **facts))
    monkeypatch.setattr(drawn, "tells_novelty", True)
    return root, make_sources(tmp_path / "elsewhere")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_other_sources_have_a_card_of_their_own(capsys, several, tmp_path):
    (root, folder), few, alone, both = several, ("--resamples", 20), tmp_path / "alone", tmp_path / "both"
    printed = run(capsys, root, "--output", alone, *few)
    assert not (alone / "elsewhere").exists()
    with_others = run(capsys, root, "--also", folder, "--output", both, *few)
    elsewhere = both / "elsewhere"
    assert contents(both) == contents(alone) and set(contents(elsewhere)) == FILES | {"other_diseases.csv"}
    assert with_others == printed + "\n" + (elsewhere / "score_card.md").read_text()
    made = contents(elsewhere)
    kept = Predictions.read(elsewhere / "probabilities.csv")
    assert [e.label for e in kept.examples] == list(range(7)) * (len(kept.examples) // 7)  # one lesion of each class
    assert {e.source for e in kept.examples} == {"milk10k"} and all(e.skin_tone for e in kept.examples)
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
    assert f"{len(kept.examples)} answers" in capsys.readouterr().out


def test_other_sources_of_which_nothing_is_held_out_are_refused(capsys, several, tmp_path):
    root, folder = several
    table = folder / "metadata.csv"
    table.write_text(table.read_text().replace(",milk10k,", ",clinic,"))
    assert "--also has too few photographs of milk10k to hold some out" in refusal(
        capsys, root, "--also", folder, "--output", tmp_path / "card"
    )
    assert not (tmp_path / "card").exists()


def test_where_a_card_goes_unless_said_otherwise():
    def default(*arguments: str) -> Path:
        return main_evaluate.default_output(main_evaluate.parser().parse_args(arguments))

    store = ROOT / "model_store"
    assert default("ROOT") == store / "score_card"
    assert default("--images", "some/clinic", "--labels", "x.csv") == store / "score_card_clinic"
    assert default("--images", ".", "--labels", "x.csv") == store / f"score_card_{Path.cwd().name}"
    assert default("--probabilities", "card/probabilities.csv") == Path("card")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "no images are given: give root, --images with --labels, or --probabilities"),
        (["ROOT", "--images", "DIR", "--labels", "CSV"], "root and --images are both given: give one of them"),
        (["ROOT", "--probabilities", "CSV"], "root and --probabilities are both given"),
        (["--images", "DIR", "--probabilities", "CSV"], "--images and --probabilities are both given"),
        (["--images", "DIR"], "--images and --labels belong together: give both"),
        (["ROOT", "--labels", "CSV"], "--images and --labels belong together"),
        (["--probabilities", "CSV", "--also", "DIR"], "--also adds to the images of root: give root"),
        (["nowhere"], "nowhere is not a folder: give the one that holds HAM10000_metadata.csv"),
        (["--images", "nowhere", "--labels", "CSV"], "nowhere is not a folder: give the one that holds the images"),
        (["--probabilities", "nowhere.csv"], "nowhere.csv is missing: it holds a row per image (columns file, dx,"),
        (["x" * 5000], "File name too long"),
    ],
)
def test_a_command_that_asks_for_no_one_set_is_refused(capsys, arguments, expected):
    assert expected in refusal(capsys, *arguments)


@pytest.mark.parametrize("option", [["--resamples", "0"], ["--resamples", "many"], ["--seed", "-1"]])
def test_numbers_that_are_none_are_refused(capsys, option):
    with pytest.raises(SystemExit) as done:
        main_evaluate.main(["ROOT", *option])
    assert done.value.code == 2
    assert f"{option[1]} is not a whole number of at least" in capsys.readouterr().err


FAULTS = {
    "no labels": (lambda folder: (folder / "labels.csv").unlink(), "labels.csv is missing: it holds a row per image"),
    "no column file": (
        lambda f: relabel(f, lambda t: t.replace("file,", "name,")),
        "has no column 'file'; it has name",
    ),
    "no column dx": (lambda f: relabel(f, lambda t: t.replace("dx,", "diagnosis,")), "has no column 'dx'"),
    "no row": (lambda f: relabel(f, lambda t: t.splitlines()[0] + "\n"), "labels.csv has no row"),
    "unknown class": (
        lambda f: relabel(f, lambda t: t.replace("0.png,akiec", "0.png,scc")),
        "0.png has dx 'scc'; known",
    ),
    "short row": (lambda f: relabel(f, lambda t: t + "0.png"), "0.png has dx ''; known"),
    "missing file": (lambda f: (f / "3.png").unlink(), "3.png is missing: "),
    "a folder": (lambda f: ((f / "3.png").unlink(), (f / "3.png").mkdir()), "3.png is missing: "),
    "no name": (lambda f: relabel(f, lambda t: t.replace("3.png", "")), "is not a file inside"),
    "a name too long": (lambda f: relabel(f, lambda t: t.replace("3.png", "3" * 300)), "is missing: "),
    "outside": (lambda f: relabel(f, lambda t: t.replace("3.png", "../3.png")), "'../3.png' is not a file inside"),
    "absolute": (lambda f: relabel(f, lambda t: t.replace("3.png", "/3.png")), "'/3.png' is not a file inside"),
    "twice": (lambda f: relabel(f, lambda t: t + "./3.png,df,L1\n"), "has two rows for 3.png: keep one"),
    "unreadable": (lambda f: (f / "deep/8.png").write_text("no image"), "8.png: not an image that can be read"),
    "cut": (lambda f: (f / "3.png").write_bytes((f / "3.png").read_bytes()[:99]), "3.png: the image is damaged"),
    "not UTF-8": (lambda f: (f / "labels.csv").write_bytes(b"file,dx\n\xff\xfe,nv"), "is not a CSV file in UTF-8"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_set_is_one_line(capsys, photographs, tmp_path, drawn, fault):
    spoil, expected = FAULTS[fault]
    spoil(photographs)
    arguments = "--images", photographs, "--labels", photographs / "labels.csv", "--output", tmp_path / "card"
    assert expected in refusal(capsys, *arguments)
    assert not (tmp_path / "card/score_card.json").exists()


def test_a_model_that_is_none_is_refused(capsys, photographs, tmp_path):
    set_ = "--images", photographs, "--labels", photographs / "labels.csv", "--output", tmp_path / "card"
    assert "none.pth does not exist" in refusal(capsys, *set_, "--modelname", tmp_path / "none.pth")
    assert "is not a checkpoint" in refusal(capsys, *set_, "--modelname", photographs / "labels.csv")
    assert not (tmp_path / "card").exists()


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_asked(capsys, photographs, tmp_path, drawn):
    (tmp_path / "file").write_text("")
    set_ = "--images", photographs, "--labels", photographs / "labels.csv"
    for output in ("file", "file/card"):
        message = refusal(capsys, *set_, "--output", tmp_path / output)
        assert f"--output {tmp_path / output} cannot be written (" in message
    assert drawn.batches == []
    (tmp_path / "card/score_card.md").mkdir(parents=True)
    assert "cannot be written (Is a directory)" in refusal(capsys, *set_, "--output", tmp_path / "card")
