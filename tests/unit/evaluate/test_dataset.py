"""Labelled sets: a folder and a CSV file, or HAM10000."""

from __future__ import annotations

import pytest
from PIL import Image

from evaluate.dataset import FOLDERS, METADATA, DataError, Example, find_examples, find_labelled, short_sides
from evaluate.score_card import group_members
from tests.unit.evaluate.sets import BCC, DF, MEL, NV, relabel


def test_a_set_is_what_its_labels_name(photographs):
    examples = find_labelled(photographs, photographs / "labels.csv")
    assert [e.path.name for e in examples] == [f"{i}.png" for i in range(9)]
    assert examples[8] == Example(photographs / "deep/8.png", BCC, "L4", 38.0, "male", "back")
    assert examples[1].site == ""


def test_two_columns_are_enough(photographs):
    (photographs / "few.csv").write_text("\ufefffile,dx\n 3.png , nv \n")
    assert find_labelled(photographs, photographs / "few.csv") == [Example(photographs / "3.png", NV, "")]


@pytest.mark.parametrize(
    ("text", "age"),
    [("50.0", 50), ("0", 0), ("", None), ("unknown", None), ("-1", None), ("nan", None), ("inf", None), ("85+", None)],
)
def test_what_is_no_age_is_not_known(photographs, text, age):
    relabel(photographs, lambda labels: labels.replace("L0,30,", f"L0,{text},"))
    assert find_labelled(photographs, photographs / "labels.csv")[0].age == age


def test_ham10000_tells_age_sex_and_site(tmp_path):
    folder = tmp_path / FOLDERS["test"]
    folder.mkdir()
    for name in "abc":
        Image.new("RGB", (8, 8)).save(folder / f"{name}.png")
    rows = ["L1,a,nv,histo,45.0,female,lower extremity", "L1,b,mel,histo,,unknown,unknown", "L2,c,df", "L2,c,df,,3,,"]
    (tmp_path / METADATA).write_text("\n".join(["lesion_id,image_id,dx,dx_type,age,sex,localization", *rows]))
    assert find_examples(tmp_path, "test") == [
        Example(folder / "a.png", NV, "L1", 45.0, "female", "lower extremity"),
        Example(folder / "b.png", MEL, "L1"),
        Example(folder / "c.png", DF, "L2"),
    ]
    (tmp_path / METADATA).write_text("lesion_id,image_id,dx\nL1,a,nv\nL1,b,mel\nL2,c,df\n")
    assert [e.age for e in find_examples(tmp_path, "test")] == [None] * 3


def test_the_test_images_and_who_they_are_of(shared):
    examples = find_examples(shared / "ham10000", "test")
    groups = {kind: {n: int(m.sum()) for n, m in g.items()} for kind, g in group_members(examples).items()}
    assert all(sum(g.values()) == len(examples) == 2007 for g in groups.values())
    assert list(groups["age"]) == ["<30", "30–44", "45–59", "60–74", "≥75", "unknown"]
    assert list(groups["sex"]) == ["female", "male", "unknown"]
    assert len(groups["site"]) >= 14 and groups["site"]["unknown"] < 100


def test_the_shorter_sides_of_photographs(tmp_path):
    sizes = [(30, 20), (20, 31), (8, 8), (100, 99)]
    examples = [Example(tmp_path / f"{number}.png", NV, "") for number in range(len(sizes))]
    for example, size in zip(examples, sizes, strict=True):
        Image.new("RGB", size).save(example.path)
    for workers in (1, 3):
        assert short_sides(examples, workers).tolist() == [20, 20, 8, 99]
    assert short_sides([], 1).tolist() == []
    examples[2].path.write_bytes(b"x")
    with pytest.raises(DataError, match=r"2\.png: cannot identify image file"):
        short_sides(examples, 2)
