"""Labelled sets: what is found and refused in HAM10000's layout or a folder with a CSV file, splits, and decoding."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api.classes import CLASSES
from evaluate import dataset
from evaluate.dataset import (
    FOLDERS,
    METADATA,
    DataError,
    Example,
    find_examples,
    find_labelled,
    load_squares,
    short_sides,
    split_by_lesion,
)
from handler.model.images import SIZE, read_square
from tests.tiny_ham10000 import IMAGES, change_metadata, first_image, make_root, train_folder
from tests.unit.evaluate.sets import BCC, DF, NV, relabel


@pytest.fixture
def root(tmp_path) -> Path:
    return make_root(tmp_path / "ham10000")


# HAM10000's layout


def test_images_are_found_in_subfolders_with_the_class_and_lesion_of_their_row(root):
    (train_folder(root) / "README.txt").write_text("x")
    change_metadata(root, lambda text: "\ufeff" + text + "HAM_z,ISIC_7777777,,,,,\n" + text.splitlines()[1] + "\n")
    examples = find_examples(root, "train")
    assert [e.path.stem for e in examples] == [f"ISIC_{i:07d}" for i in range(IMAGES)]
    assert {e.path.parent.name for e in examples} == {"part_1", "deep", FOLDERS["train"]}
    assert all(e.lesion.startswith(f"HAM_{list(CLASSES)[e.label]}_") for e in examples)
    assert dataset.class_counts(examples) == dict.fromkeys(CLASSES, 4)
    with pytest.raises(DataError, match="HAM10000_images_test is missing"):
        find_examples(root, "test")


def test_age_sex_and_site_are_read_where_they_are_known(tmp_path):
    folder = tmp_path / FOLDERS["test"]
    folder.mkdir()
    for name in "ab":
        Image.new("RGB", (40, 40)).save(folder / f"{name}.png")
    rows = ["L1,a,nv,histo,45.0,female,lower extremity", "L2,b,df", "L2,b,df,,3,,"]
    (tmp_path / METADATA).write_text("\n".join(["lesion_id,image_id,dx,dx_type,age,sex,localization", *rows]))
    assert find_examples(tmp_path, "test") == [
        Example(folder / "a.png", NV, "L1", 45.0, "female", "lower extremity"),
        Example(folder / "b.png", DF, "L2"),
    ]


def replace(old: str, new: str):
    """A fault: other text in the metadata."""
    return lambda root: change_metadata(root, lambda text: text.replace(old, new))


def duplicate_an_image(root: Path) -> None:
    (train_folder(root) / "again").mkdir()
    (train_folder(root) / "again" / "ISIC_0000000.png").write_bytes(first_image(root).read_bytes())


def delete_images(root: Path) -> None:
    for path in train_folder(root).rglob("*.jpg"):
        path.unlink()


FAULTS = {
    "no train folder": (
        lambda root: train_folder(root).rename(root / "elsewhere"),
        "HAM10000_images_train is missing: it holds the images of the train split",
    ),
    "no column": (replace(",dx,", ",diagnosis,"), "has no column 'dx'; it has lesion_id, image_id"),
    "not UTF-8": (
        lambda root: (root / METADATA).write_bytes(b"lesion_id,image_id,dx\n\xff\xfe,\xe9,nv\n"),
        "is not a CSV file in UTF-8",
    ),
    "no row": (replace("ISIC_0000003", "ISIC_9999999"), "has no row in"),
    "short row": (
        replace("ISIC_0000000,akiec,histo,50.0,male,back", "ISIC_0000000"),
        "image ISIC_0000000 has dx None; known are akiec, bcc, bkl, df, mel, nv, vasc",
    ),
    "no lesion": (replace("HAM_akiec_0", ""), "image ISIC_0000000 has no lesion_id"),
    "rows that disagree": (
        lambda root: change_metadata(root, lambda text: text + "HAM_x,ISIC_0000000,nv,histo,1,male,back\n"),
        "has two rows for image_id ISIC_0000000 that do not agree",
    ),
    "no image": (delete_images, "HAM10000_images_train holds no image (.bmp, .jpeg, .jpg"),
    "an image twice": (duplicate_an_image, "are the same image_id: keep one"),
    "a cut image": (
        lambda root: first_image(root).write_bytes(first_image(root).read_bytes()[:700]),
        "ISIC_0000000.jpg: the image is damaged or cut short",
    ),
    "one lesion of a class": (
        lambda root: change_metadata(
            root, lambda text: text.replace("HAM_df_1", "HAM_df_0").replace("HAM_df_2", "HAM_df_0")
        ),
        "class df has 1 lesion in the training images: at least 2",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_folder_is_refused_in_one_line(root, fault):
    make_fault, expected = FAULTS[fault]
    make_fault(root)
    with pytest.raises(DataError) as refused:
        for examples in split_by_lesion(find_examples(root, "train"), 0.1, seed=0):
            load_squares(examples, 2, "test")
    assert expected in str(refused.value) and "\n" not in str(refused.value)


# A folder and a CSV file


def test_a_set_has_the_images_that_its_labels_name(photographs):
    examples = find_labelled(photographs, photographs / "labels.csv")
    assert [e.path.name for e in examples] == [f"{i}.png" for i in range(9)]
    assert examples[8] == Example(photographs / "deep/8.png", BCC, "L4", 38.0, "male", "back")
    assert examples[1].site == ""
    (photographs / "few.csv").write_text("\ufefffile,dx\n 3.png , nv \n")
    assert find_labelled(photographs, photographs / "few.csv") == [Example(photographs / "3.png", NV, "")]


@pytest.mark.parametrize(("text", "age"), [("0", 0), ("unknown", None), ("-1", None), ("nan", None), ("85+", None)])
def test_other_text_than_an_age_is_not_known(photographs, text, age):
    relabel(photographs, lambda labels: labels.replace("L0,30,", f"L0,{text},"))
    assert find_labelled(photographs, photographs / "labels.csv")[0].age == age


LABEL_FAULTS = {
    "no column": (lambda f: relabel(f, lambda t: t.replace("file,", "name,")), "has no column 'file'; it has name"),
    "no row": (lambda f: relabel(f, lambda t: t.splitlines()[0] + "\n"), "labels.csv has no row"),
    "unknown class": (lambda f: relabel(f, lambda t: t.replace("0.png,akiec", "0.png,scc")), "0.png has dx 'scc'"),
    "short row": (lambda f: relabel(f, lambda t: t + "0.png"), "0.png has dx ''; known"),
    "no name": (lambda f: relabel(f, lambda t: t.replace("3.png", "")), "is not a file inside"),
    "a name too long": (lambda f: relabel(f, lambda t: t.replace("3.png", "3" * 300)), "is missing: "),
    "outside": (lambda f: relabel(f, lambda t: t.replace("3.png", "../3.png")), "'../3.png' is not a file inside"),
    "absolute": (lambda f: relabel(f, lambda t: t.replace("3.png", "/3.png")), "'/3.png' is not a file inside"),
    "twice": (lambda f: relabel(f, lambda t: t + "./3.png,df,L1\n"), "has two rows for 3.png: keep one"),
}


@pytest.mark.parametrize("fault", LABEL_FAULTS)
def test_a_fault_of_the_labels_is_refused_in_one_line(photographs, fault):
    make_fault, expected = LABEL_FAULTS[fault]
    make_fault(photographs)
    with pytest.raises(DataError) as refused:
        find_labelled(photographs, photographs / "labels.csv")
    assert expected in str(refused.value) and "\n" not in str(refused.value)


# Splitting


def many_examples() -> list[Example]:
    """Classes of very different sizes, one to three images a lesion."""
    rng = np.random.default_rng(1)
    return [
        Example(Path(f"{label}_{lesion}_{i}.jpg"), label, f"L{label}_{lesion}")
        for label, count in enumerate([30, 50, 100, 2, 110, 600, 3])
        for lesion in range(count)
        for i in range(int(rng.integers(1, 4)))
    ]


def test_each_lesion_is_on_one_side_and_each_class_holds_out_its_share():
    examples = many_examples()
    train, validation = split_by_lesion(examples, 0.1, seed=0)
    assert not {e.lesion for e in train} & {e.lesion for e in validation}
    assert sorted(train + validation, key=str) == sorted(examples, key=str)
    lesions = Counter(label for label, _ in {(e.label, e.lesion) for e in validation})
    assert lesions == {0: 3, 1: 5, 2: 10, 3: 1, 4: 11, 5: 60, 6: 1}
    assert {e.label for e in train} == set(range(7))


def test_the_split_depends_on_the_seed_alone():
    examples = many_examples()
    first, reordered, other = (
        {e.lesion for e in split_by_lesion(order, 0.1, seed)[1]}
        for order, seed in ((examples, 0), (examples[::-1], 0), (examples, 1))
    )
    assert first == reordered != other


# Decoding


def test_squares_are_the_network_input_of_serving(root):
    examples = find_examples(root, "train")
    squares = load_squares(examples, 2, "test")
    assert squares.shape == (IMAGES, SIZE, SIZE, 3) and squares.dtype == np.uint8
    for example, square in zip(examples, squares, strict=True):
        assert (square == read_square(example.path.read_bytes())).all()


def test_an_unreadable_image_stops_the_decoding_of_the_others(tmp_path, monkeypatch):
    decoded = []

    def slow(content, side):
        decoded.append(content)
        time.sleep(0.01)
        return read_square(content, side)

    monkeypatch.setattr(dataset, "read_square", slow)
    (tmp_path / "bad.jpg").write_bytes(b"bad")
    Image.new("RGB", (40, 40)).save(tmp_path / "good.jpg")
    examples = [Example(tmp_path / name, 0, "x") for name in ["bad.jpg"] + ["good.jpg"] * 500]
    with pytest.raises(DataError, match=r"bad\.jpg: not an image"):
        load_squares(examples, 2, "test")
    assert len(decoded) < 100


def test_the_shorter_sides_of_photographs(tmp_path):
    sizes = [(30, 20), (20, 31), (8, 8), (100, 99)]
    examples = [Example(tmp_path / f"{number}.png", NV, "") for number in range(len(sizes))]
    for example, size in zip(examples, sizes, strict=True):
        Image.new("RGB", size).save(example.path)
    assert short_sides(examples, 3).tolist() == [20, 20, 8, 99]
    examples[2].path.write_bytes(b"x")
    with pytest.raises(DataError, match=r"2\.png: cannot identify image file"):
        short_sides(examples, 2)
