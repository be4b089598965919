"""Photographs from other sources: what is found and refused in their folders, and how they are split."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api.classes import CLASSES
from evaluate import sources
from evaluate.dataset import DataError, Example, OtherDisease
from evaluate.sources import (
    METADATA,
    TEST,
    VALIDATION,
    by_source,
    find_sources,
    same_lesions,
    split_sources,
)
from tests.tiny_sources import make_sources
from tests.unit.evaluate.sets import BCC, MEL, NV


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three photographs."""
    made = tmp_path / "clinic"
    (made / "deep").mkdir(parents=True)
    for name in ("a.jpg", "deep/b.PNG", "c.webp"):
        Image.new("RGB", (40, 40)).save(made / name)
    return write(made, "image_id,dx", "a,nv", "b,mel", "c,scc")


def write(folder: Path, *lines: str) -> Path:
    """Replace the table of ``folder``."""
    (folder / METADATA).write_text("\n".join(lines) + "\n")
    return folder


# What is found


def test_columns_and_folders(folder: Path, tmp_path: Path):
    found = find_sources([folder])
    assert found.examples == [
        Example(folder / "a.jpg", NV, "a", source="clinic"),
        Example(folder / "deep/b.PNG", MEL, "b", source="clinic"),
    ]
    assert found.others == [OtherDisease(folder / "c.webp", "scc", "clinic")]
    other = make_sources(tmp_path / "other")
    assert find_sources([folder, other]).examples == found.examples + find_sources([other]).examples
    columns = "skin_tone,localization,sex,age,source,lesion_id,dx,image_id"
    write(folder, columns, "3,Back,Female,45,milk10k,L1, NV ,b", ",unknown,,,,L1,bcc,a")  # c has no row
    assert find_sources([folder]).examples == [
        Example(folder / "deep/b.PNG", NV, "L1", 45.0, "female", "back", "milk10k", "3"),
        Example(folder / "a.jpg", BCC, "L1", source="clinic"),
    ]
    assert find_sources([folder]).summary() == f"1 of clinic, 1 of milk10k; 1 images in {folder} have no row"


def test_other_diseases_are_counted(tmp_path: Path):
    found = find_sources([make_sources(tmp_path / "elsewhere")])
    assert len(found.examples) == 84 and Counter(e.source for e in found.examples) == {"milk10k": 56, "bcn": 28}
    assert Counter((o.dx, o.source) for o in found.others) == {("scc", "milk10k"): 8, ("scc", "bcn"): 4}
    assert found.summary() == "28 of bcn, 56 of milk10k; 12 of other diseases are left out (scc 12)"


# What is refused


def copy_an_image(folder: Path) -> None:
    (folder / "deep" / "a.png").write_bytes((folder / "a.jpg").read_bytes())


FAULTS = {
    "no table": (lambda folder: (folder / METADATA).unlink(), "metadata.csv: found no such file or directory"),
    "no column": (lambda folder: write(folder, "name,dx", "a,nv"), "metadata.csv: found the columns name, dx"),
    "an empty image_id": (lambda folder: write(folder, "image_id,dx", " ,nv"), "line 2: found image_id '' and dx 'nv'"),
    "an empty dx": (lambda folder: write(folder, "image_id,dx", "a"), "line 2: found image_id 'a' and dx ''"),
    "two rows": (
        lambda folder: write(folder, "image_id,dx", "a,nv", "a,nv"),
        "found a again, which is on line 2",
    ),
    "no such image": (lambda folder: write(folder, "image_id,dx", "d,scc"), "clinic has no image, expected an image"),
    "an empty image": (lambda folder: (folder / "a.jpg").write_bytes(b""), "a.jpg is empty"),
    "two files": (copy_an_image, "a.jpg are the same image_id: keep one"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_folder_is_named(folder: Path, fault: str):
    make_fault, expected = FAULTS[fault]
    make_fault(folder)
    with pytest.raises(DataError) as raised:
        find_sources([folder])
    assert expected in str(raised.value) and str(folder) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_image_of_two_folders_is_named(folder: Path, tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (40, 40)).save(other / "b.jpg")
    write(other, "image_id,dx", "b,nv")
    with pytest.raises(DataError) as raised:
        find_sources([folder, other])
    assert f"{other / METADATA}: line 2: found b again, which is on line 3 of {folder / METADATA}" in str(raised.value)
    with pytest.raises(DataError, match=r"nowhere is not a folder: give one that holds metadata\.csv and images"):
        find_sources([tmp_path / "nowhere"])


# The split


LESIONS = {"akiec": 40, "bcc": 100, "df": 5, "mel": 3, "nv": 247}
"""Lesions of each source in :func:`photographs`; they have one photograph or two."""


def photographs() -> list[Example]:
    """Of milk10k, and as many of bcn with the same names of lesions."""
    made = []
    for dx, count in LESIONS.items():
        for number in range(count):
            for view in range(1 + number % 2):
                name, label = f"{dx}_{number}", list(CLASSES).index(dx)
                made.append(Example(Path(f"{name}_{view}.jpg"), label, name, source="milk10k"))
                made.append(Example(Path(f"bcn_{name}_{view}.jpg"), label, name, source="bcn"))
    return made


@pytest.fixture(autouse=True)
def same(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Replaces what :func:`evaluate.sources.same_lesions` returns; empty to begin with."""
    table: dict[str, str] = {}
    monkeypatch.setattr(sources, "same_lesions", lambda: table)
    return table


def test_each_class_holds_out_its_shares_of_whole_lesions():
    everything = photographs()
    split = split_sources(everything, [])
    for dx, count in LESIONS.items():
        for part, share in ((split.test, TEST), (split.validation, VALIDATION)):
            lesions = {e.lesion for e in part if list(CLASSES)[e.label] == dx}
            assert len(lesions) == round(share * count), dx
    assert (split.excluded, split.matched) == ([], 0)
    parts = [split.train, split.validation, split.test]
    lesions = [{e.lesion for e in part if e.source == "milk10k"} for part in parts]
    assert all(lesions) and sum(map(len, lesions)) == len(set().union(*lesions)) == sum(LESIONS.values())
    assert sorted(map(str, sum(parts, []))) == sorted(map(str, everything))


def test_only_some_sources_have_held_out_parts():
    split = split_sources(photographs(), [])
    assert {e.source for e in split.validation} == {e.source for e in split.test} == {"milk10k"}
    assert sum(e.source == "bcn" for e in split.train) == len(photographs()) // 2
    both = split_sources(photographs(), [], ("bcn", "milk10k"))
    assert list(by_source(both.validation)) == ["bcn", "milk10k"]
    assert by_source(both.validation)["milk10k"] == split.validation
    assert split_sources(photographs(), [], ()).train == photographs()


def test_the_parts_depend_neither_on_the_order_nor_on_other_sources():
    everything = photographs()
    expected = split_sources(everything, [])
    shuffled = random.Random(0).sample(everything, len(everything))
    alone = [e for e in everything if e.source == "milk10k"]
    for examples in (shuffled, alone):
        split = split_sources(examples, [])
        assert set(split.validation) == set(expected.validation) and set(split.test) == set(expected.test)
    numbers = [int(e.lesion.split("_")[1]) for e in expected.validation if e.lesion.startswith("nv_")]
    assert 80 < np.mean(numbers) < 165 and max(numbers) > 200  # not the first lesions of the table


def single(lesions: list[Example], source: str = "milk10k") -> Example:
    """One of the photographs of a source whose lesion has no other."""
    return next(e for e in lesions if e.source == source and int(e.lesion.split("_")[1]) % 2 == 0)


HAM10000_VALIDATION = [Example(Path("ISIC_1.jpg"), NV, "HAM_held_out")]


def test_a_held_out_lesion_that_ham10000_trains_on_is_trained_on(same: dict[str, str]):
    before = split_sources(photographs(), HAM10000_VALIDATION)
    moved = [single(before.validation), single(before.test)]
    # That of a lesion that was trained on anyway is not counted.
    same |= {e.path.stem: "HAM_trained" for e in [*moved, single(before.train)]}
    split = split_sources(photographs(), HAM10000_VALIDATION)
    assert set(split.train) == {*before.train, *moved} and split.matched == 2 and split.excluded == []
    assert set(split.validation) == {*before.validation} - {*moved} and set(split.test) == {*before.test} - {*moved}


def test_a_lesion_that_ham10000_validates_on_is_excluded(same: dict[str, str]):
    before = split_sources(photographs(), HAM10000_VALIDATION)
    excluded = [single(part) for part in (before.train, before.validation, before.test)]
    excluded.append(single(before.train, "bcn"))
    same |= {e.path.stem: "HAM_held_out" for e in excluded}
    split = split_sources(photographs(), HAM10000_VALIDATION)
    assert set(split.excluded) == {*excluded} and split.matched == 0
    assert not {*excluded} & {*split.train, *split.validation, *split.test}
    assert split.summary() == (
        f"{len(split.train)} for training, {len(split.validation)} for validation, {len(split.test)} for testing; "
        "of lesions that HAM10000 also has, 0 are for training instead of held out, and 4 are left out because "
        "HAM10000's validation part has them"
    )


@pytest.mark.parametrize("lesion, part", [("HAM_trained", "train"), ("HAM_held_out", "excluded")])
def test_all_photographs_of_such_a_lesion_follow_the_one_that_was_matched(same: dict[str, str], lesion: str, part: str):
    before = split_sources(photographs(), HAM10000_VALIDATION)
    counts = Counter(e.lesion for e in before.validation)
    first, second = [e for e in before.validation if e.lesion == counts.most_common(1)[0][0]]
    same[second.path.stem] = lesion
    split = split_sources(photographs(), HAM10000_VALIDATION)
    assert {first, second} <= set(getattr(split, part))
    assert not {first, second} & set(split.validation)
    assert split.matched == (2 if part == "train" else 0)


def test_the_table_of_the_same_lesions():
    table = same_lesions()
    assert len(table) > 500
    assert all(image.startswith("ISIC_") and lesion.startswith("HAM_") for image, lesion in table.items())
