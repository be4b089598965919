"""A session's results: errors in words, rows, files to download, and the comparison with the truth."""

from __future__ import annotations

import csv
import io
import re
import zipfile

import msgspec
import pytest

from api.client import Client
from api.errors import ErrorCode
from api.service_errors import AnswerInterrupted, RequestRefused, ServiceTimeout, UnexpectedAnswer
from frontend.i18n import use_language
from frontend.photographs import Photograph
from frontend.results import TruthError, compare, describe, is_retryable, read_truth, row, to_csv, to_zip
from frontend.tasks import Entry, Task
from tests.unit.api.test_client import response, serving
from tests.unit.frontend.answers import answer

EMPTY = RequestRefused("the service's words", 400, code=ErrorCode.EMPTY_IMAGE)


def entry(name: str = "a.jpg", code: str = "mel", explain=None) -> Entry:
    known = answer(0.6, unlike=True, plausible=["Melanoma", "Dermatofibroma"], code=code)
    done = Task(state="done", answer=msgspec.structs.replace(known, explain=explain))
    return Entry(Photograph(name, name, b""), done)


def failed(name: str = "b.jpg") -> Entry:
    return Entry(Photograph(name, name, b""), Task(state="failed", error=EMPTY))


@pytest.mark.parametrize(
    ("error", "words", "retryable"),
    [
        (EMPTY, "This file is empty", False),
        (RequestRefused("", 400, code=ErrorCode.IMAGE_TOO_LARGE), "64 million, .* exceed 12,000", False),
        (RequestRefused("", 413), "file is too large", False),
        (RequestRefused("", 401), "requires an API key", True),
        (RequestRefused("", 503), "is busy", True),
        (RequestRefused("", 200, code=ErrorCode.UNAVAILABLE), "is busy", True),
        (RequestRefused("", 504), "too long", True),
        (ServiceTimeout(""), "too long", True),
        (AnswerInterrupted("{url} broke off: try again", url="http://x"), "http://x broke off: try again", True),
        (KeyError("x"), "The page failed", True),
    ],
)
def test_an_error_is_described_by_its_code(error: Exception, words: str, retryable: bool):
    assert re.search(words, describe(error))
    assert is_retryable(error) is retryable


def test_a_wrong_api_key_is_not_called_a_missing_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLBIO_API_KEY", "mistyped")
    assert "refuses the API key" in describe(RequestRefused("", 401))
    monkeypatch.delenv("MLBIO_API_KEY")
    assert "requires an API key" in describe(RequestRefused("", 401))


@pytest.mark.parametrize("status", ["413 Content Too Large", "502 Bad Gateway", "504 Gateway Timeout"])
def test_a_proxys_answer_is_explained_in_the_pages_language(status: str):
    with serving(response(b"<html>", status)) as server, Client(server.url) as client:
        with pytest.raises(RequestRefused) as caught:
            client.predict(b"a photograph")
        with use_language("fr"):
            assert re.match(f"un proxy .*{server.url}.*HTTP {status[:3]}", describe(caught.value))


@pytest.mark.parametrize("error", [RequestRefused("A new reason", 400), UnexpectedAnswer("Another version")])
def test_an_error_without_a_text_of_the_pages_is_shown_as_it_came(error: Exception):
    assert describe(error) == str(error)


def test_a_row_is_in_the_current_language():
    with use_language("fr"):
        seen, wrong = row(entry()), row(failed())
    assert (seen.diagnosis, seen.probability) == ("Mélanome", 0.7)
    assert (seen.malignant_probability, seen.malignant) == (0.6, True)
    assert (seen.novelty, seen.unlike, seen.stability, seen.error) == (2.0, True, None, None)
    assert seen.plausible == "Mélanome; Dermatofibrome"
    assert wrong.error == "Ce fichier est vide. Choisissez-en un autre."


def test_the_csv_has_a_line_for_each_photograph_in_english():
    with use_language("fr"):
        lines = list(csv.DictReader(io.StringIO(to_csv([entry(), failed()]).decode())))
    assert [line["file"] for line in lines] == ["a.jpg", "b.jpg"]
    assert (lines[0]["diagnosis"], lines[0]["probability"], lines[1]["diagnosis"]) == ("Melanoma", "0.7", "")
    assert (lines[0]["plausible"], lines[1]["plausible"]) == ("Melanoma; Dermatofibroma", "")


def test_a_spreadsheet_does_not_run_a_file_name_as_a_formula():
    (line,) = csv.DictReader(io.StringIO(to_csv([entry('=HYPERLINK("x")')]).decode()))
    assert line["file"].startswith("'=")


def test_the_zip_has_the_table_the_report_and_the_pictures_of_explanations():
    entries = [entry(explain=[[[1, 2, 3]]]), entry(explain=[[[1, 2, 3]]]), failed()]
    with zipfile.ZipFile(io.BytesIO(to_zip(entries))) as archive:
        assert archive.namelist() == ["mlbio.csv", "report.html", "001_a_explained.png", "002_a_explained.png"]
        assert archive.read("001_a_explained.png").startswith(b"\x89PNG")


def test_the_truth_is_compared_with_the_diagnoses():
    truth = read_truth(b"file,dx\na.jpg,mel\nb,nv\nfolder/C.JPG,nv\nd.jpg,bcc\n")
    comparison = compare([entry("a.jpg"), entry("b.png"), entry("c.jpg", "nv"), entry("unknown.jpg")], truth)
    assert comparison is not None
    assert comparison.counts == {("mel", "mel"): 1, ("nv", "mel"): 1, ("nv", "nv"): 1}
    assert comparison.accuracy == pytest.approx(2 / 3)
    assert comparison.balanced_accuracy == pytest.approx(3 / 4)
    assert compare([failed("a.jpg")], truth) is None


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("\ufefffile;dx\nA.jpg;Melanoma\nb;nv\n".encode(), id="Excel"),
        pytest.param(b"file;dx\ra;mel\rb;nv\r", id="Excel for the Macintosh"),
        pytest.param(
            b"lesion_id,image_id,dx,dx_type,age\nH1,a,mel,histo,80.0\nH2,b,nv,histo,\n", id="HAM10000_metadata"
        ),
        pytest.param(
            "sep=;\r\nFile ;DX\r\na.jpg; Mélanome\r\n\r\nb.jpg;Nævus mélanocytaires\r\n".encode("cp1252"), id="French"
        ),
        pytest.param("file\tdx\na.jpg\tMEL\nb.png\tNV\n".encode("utf-16"), id="tabs"),
        pytest.param(b"file,dx\nC:\\photos\\a.jpg,mel\nb.jpg,nv\na.jpg,MEL\n", id="a row twice"),
    ],
)
def test_true_diagnoses_are_read_as_programs_write_them(content: bytes):
    assert read_truth(content) == {"a": "mel", "b": "nv"}


@pytest.mark.parametrize(
    ("content", "words", "french"),
    [
        (
            b"name,dx\na,mel\n",
            "columns name, dx, expected a column file",
            "name, dx ; attendu : une colonne",
        ),
        (b"", "Found nothing", "Trouvé : rien"),
        (b"file,dx\na,cat\n", "Line 2: found the diagnosis 'cat'", "Ligne 2 ; trouvé : le diagnostic 'cat'"),
        (b"file,dx\na\n", "Line 2: found the diagnosis ''", "le diagnostic ''"),
        (b"file,dx\na,nv\nb,nv\nA.jpg,mel\n", "Line 4: found A.jpg again, with .* line 2", "Ligne 4 ; .* la ligne 2"),
        (b"file,dx\na,nv,x\n", "found 3 values, expected 2", "trouvé : 3 valeurs"),
        (b"file,NV,MEL\na,1,1\n", "found 2 diagnoses", "2 diagnostics"),
        (b"\x00\x01\x02\x00\x00", "Found", "Trouvé"),
        (b"PK\x03\x04", "a workbook or an archive", "un classeur ou une archive"),
        (b'file,dx\n"a,mel\n' + b"b,mel\n" * 30_000, "Line 2: found a quotation mark", "un guillemet"),
    ],
)
def test_a_file_that_is_no_table_of_truths_is_refused_with_a_reason(content: bytes, words: str, french: str):
    with use_language("fr"), pytest.raises(TruthError, match=french) as refused:
        read_truth(content)
    assert "expected" not in str(refused.value)
    with pytest.raises(TruthError, match=words):
        read_truth(content)


def test_many_wrong_rows_are_named_at_once():
    with pytest.raises(TruthError) as refused:
        read_truth(b"file,dx\n" + b"a,cat\n" * 12)
    lines = str(refused.value).split("\n\n")
    assert len(lines) == 11 and lines[-1] == "… and 2 more."
