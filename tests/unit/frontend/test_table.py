"""Photographs as rows, as files to download, and compared with the truth."""

from __future__ import annotations

import csv
import io
import zipfile

import pytest

from api.answer import Details, Malignant, Model, OutOfDistribution, Prediction
from api.client import RequestRefused
from frontend.ground_truth import TruthError, compare, read_truth
from frontend.i18n import use_language
from frontend.photographs import Photograph
from frontend.table import row, to_csv, to_zip
from frontend.tasks import Entry, Task


def entry(name: str = "a.jpg", diagnosis: str = "Melanoma", explain=None) -> Entry:
    details = Details(
        probabilities={diagnosis: 0.5},
        malignant=Malignant(0.6, 0.2, True),
        out_of_distribution=OutOfDistribution(1.5, True),
        model=Model("resnet34", "abc"),
        explanation=None,
        plausible=[diagnosis, "Dermatofibroma"],
    )
    answer = Prediction(prediction=diagnosis, probability=0.5, details=details, explain=explain)
    return Entry(Photograph(name, name, b""), Task(state="done", answer=answer))


def failed(name: str = "b.jpg") -> Entry:
    return Entry(Photograph(name, name, b""), Task(state="failed", error=RequestRefused("the image is empty", 400)))


def test_a_row_has_the_figures_of_the_answer_in_the_current_language():
    with use_language("fr"):
        seen = row(entry())
    assert (seen.diagnosis, seen.probability) == ("Mélanome", 0.5)
    assert (seen.malignant_probability, seen.malignant) == (0.6, True)
    assert (seen.novelty, seen.unlike, seen.stability, seen.error) == (1.5, True, None, None)
    assert seen.plausible == "Mélanome; Dermatofibrome"


def test_a_failure_is_described_in_words():
    assert row(failed()).error == "This file is empty. Choose another one."
    with use_language("fr"):
        assert row(failed()).error == "Ce fichier est vide. Choisissez-en un autre."


def test_the_csv_has_a_line_for_each_photograph_in_english():
    with use_language("fr"):
        lines = list(csv.DictReader(io.StringIO(to_csv([entry(), failed()]).decode())))
    assert [line["file"] for line in lines] == ["a.jpg", "b.jpg"]
    assert (lines[0]["diagnosis"], lines[0]["probability"], lines[1]["diagnosis"]) == ("Melanoma", "0.5", "")
    assert (lines[0]["plausible"], lines[1]["plausible"]) == ("Melanoma; Dermatofibroma", "")


def test_a_spreadsheet_runs_no_file_name():
    (line,) = csv.DictReader(io.StringIO(to_csv([entry('=HYPERLINK("x")')]).decode()))
    assert line["file"].startswith("'=")


def test_the_zip_has_the_table_and_the_explained_pictures():
    two = [entry(explain=[[[1, 2, 3]]]), entry(explain=[[[1, 2, 3]]]), failed()]
    with zipfile.ZipFile(io.BytesIO(to_zip(two))) as archive:
        assert archive.namelist() == ["mlbio.csv", "report.html", "001_a_explained.png", "002_a_explained.png"]
        assert archive.read("001_a_explained.png").startswith(b"\x89PNG")


def test_the_truth_is_compared_with_the_diagnoses():
    truth = read_truth(b"file,dx\na.jpg,mel\nb,nv\nfolder/C.JPG,nv\nd.jpg,bcc\n")
    seen = [entry("a.jpg"), entry("b.png"), entry("c.jpg", "Melanocytic nevi"), entry("unknown.jpg")]
    comparison = compare(seen, truth)
    assert comparison is not None
    assert comparison.counts == {("mel", "mel"): 1, ("nv", "mel"): 1, ("nv", "nv"): 1}
    assert comparison.accuracy == pytest.approx(2 / 3)
    assert comparison.balanced_accuracy == pytest.approx(3 / 4)
    assert compare([failed("a.jpg")], truth) is None


def test_a_spreadsheets_csv_is_read_too():
    assert read_truth("\ufefffile;dx\na.jpg;Melanoma\n".encode()) == {"a": "mel"}
    assert read_truth(b"file;dx\ra;mel\rb;nv\r") == {"a": "mel", "b": "nv"}  # Excel's for the Macintosh


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"name,dx\na,mel\n", "columns file and dx"),
        (b"", "columns file and dx"),
        (b"file,dx\na,cat\n", "Line 2: 'cat'"),
        (b"file,dx\na\n", "Line 2: ''"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b'file,dx\n"a,mel\n' + b"b,mel\n" * 30_000, "not a CSV file"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_a_reason(content: bytes, words: str):
    with pytest.raises(TruthError, match=words):
        read_truth(content)
