"""Tables and lists as people's programs write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.classes import CLASSES, class_code
from api.tables import TableError, image_id, read_lines, read_table

EXPECTED = [("ISIC_1", "mel"), ("ISIC_2", "nv")]


def diagnoses(content: bytes) -> list[tuple[str, str | None]]:
    table = read_table(content, ("image", "dx"))
    found = [(image_id(row["image"]), table.diagnosis(row)) for row in table.rows]
    table.raise_problems()
    return found


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"image_id,dx\nISIC_1,mel\nISIC_2,nv\n", id="commas"),
        pytest.param(b"file;dx\r\nISIC_1.jpg;MEL\r\nISIC_2.jpg;Melanocytic nevi\r\n", id="semicolons and file names"),
        pytest.param(b"sep=;\nImage ;DX\nISIC_1; Melanoma \nISIC_2;nevus\n", id="Excel's sep= line"),
        pytest.param(b"filename\tlabel\rISIC_1\tmel\rISIC_2\tnv", id="tabs and old Macintosh lines"),
        pytest.param(b'\n"isic_id","diagnosis",\n\n"ISIC_1","mel",\n,,\n"ISIC_2","nv",\n\n', id="blank lines"),
        pytest.param(b"dx,age,file\nmel,50,C:\\my photos\\ISIC_1.jpg\nnv,,x\\ISIC_2.PNG\n", id="Windows paths"),
        pytest.param("file;dx\nISIC_1;mélanome\nISIC_2;Nævus\n".encode("utf-8-sig"), id="UTF-8 with a mark, French"),
        pytest.param("file,dx\nISIC_1,MÉLANOME\nISIC_2,Nævus mélanocytaires\n".encode("utf-16"), id="UTF-16"),
        pytest.param("file,dx\nISIC_1,mel\nISIC_2,nv\n".encode("utf-16-le"), id="UTF-16 without a mark"),
        pytest.param("file,dx\nISIC_1,mélanome\nISIC_2,nævus\n".encode("cp1252"), id="Windows-1252"),
        pytest.param(b"image,MEL,NV,BCC,AK,SCC\nISIC_1,1.0,0,0,0,0\nISIC_2,0.0,1,,0,0\n", id="ISIC's one-hot tables"),
        pytest.param(b"image_id,dx,diagnosis\nISIC_1,mel,Melanoma invasive\nISIC_2,nv,\n", id="dx before diagnosis"),
    ],
)  # fmt: skip
def test_a_table_is_read(content: bytes):
    assert diagnoses(content) == EXPECTED


def test_every_class_is_known_by_its_code_its_name_and_in_french():
    french = ("Kératoses actiniques", "Carcinome basocellulaire", "Lésions bénignes de type kératose")
    french += ("Dermatofibrome", "Mélanome", "Nævus mélanocytaires", "Lésions vasculaires")
    assert [class_code(name) for name in french] == list(CLASSES)
    assert [class_code(name.upper()) for name in CLASSES.values()] == list(CLASSES)
    assert class_code("eczema") is None


def test_all_problems_come_at_once_with_their_lines():
    content = b"file,dx\n" + b"".join(f"{i}.jpg,wart\n".encode() for i in range(12)) + b"a.jpg,nv,extra\n"
    with pytest.raises(TableError) as raised:
        diagnoses(content)
    lines = str(raised.value).splitlines()
    assert len(lines) == 11
    assert "line 2: found the diagnosis 'wart', expected one of akiec, bcc" in lines[0]
    assert lines[-1] == "… and 3 more problems in the table"
    assert [problem.line for problem in raised.value.problems] == list(range(2, 15))


def test_an_ambiguous_one_hot_row_is_a_problem():
    with pytest.raises(TableError, match="line 3: found 2 diagnoses marked with 1, expected one"):
        diagnoses(b"image,MEL,NV\nISIC_1,1,0\nISIC_2,1,1\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found nothing, expected a column"),
        (b"a,b\n1,2\n", "found the columns a, b, expected a column dx / diagnosis"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "expected a"),
        (b"PK\x03\x04\x14", "found a workbook or an archive"),
        (b'file,dx\na,nv\n"b,mel\nc,nv\n', "line 3: found a quotation mark without its pair"),
    ],
)
def test_what_is_no_table_is_refused(content: bytes, message: str):
    with pytest.raises(TableError, match=message):
        diagnoses(content)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(TableError, match=r"labels\.csv: found no such file or directory, expected a file"):
        read_table(tmp_path / "labels.csv", ("image",))


def test_lines_of_a_list_written_by_powershell(tmp_path: Path):
    (tmp_path / "list.txt").write_bytes("C:\\a b.jpg\r\n\r\n  é,1.jpg\r\n".encode("utf-16"))
    assert list(read_lines(tmp_path / "list.txt")) == [(1, "C:\\a b.jpg"), (3, "é,1.jpg")]
