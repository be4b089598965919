"""A folder laid out like HAM10000: what is found and refused in it, and how it is split and decoded."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api.classes import CLASSES
from evaluate import dataset
from evaluate.dataset import FOLDERS, METADATA, DataError, Example, find_examples, load_squares, split_by_lesion
from handler.model.images import SIZE, read_square
from tests.tiny_ham10000 import IMAGES, change_metadata, first_image, make_root, train_folder


@pytest.fixture
def root(tmp_path) -> Path:
    return make_root(tmp_path / "ham10000")


# Faults


def delete_column(name):
    def change(text):
        rows = [line.split(",") for line in text.splitlines()]
        at = rows[0].index(name)
        return "\n".join(",".join(row[:at] + row[at + 1 :]) for row in rows)

    return change


def replace(old: str, new: str):
    """A fault: other text in the metadata."""
    return lambda root: change_metadata(root, lambda text: text.replace(old, new))


def empty_the_train_folder(root: Path) -> None:
    for path in train_folder(root).rglob("*.jpg"):
        path.unlink()


def duplicate_an_image(root: Path) -> None:
    (train_folder(root) / "again").mkdir()
    (train_folder(root) / "again" / "ISIC_0000000.png").write_bytes(first_image(root).read_bytes())


def keep_one_lesion_of_a_class(root: Path) -> None:
    change_metadata(root, lambda text: text.replace("HAM_df_1", "HAM_df_0").replace("HAM_df_2", "HAM_df_0"))


FAULTS = {
    "no train folder": (
        lambda root: train_folder(root).rename(root / "elsewhere"),
        "HAM10000_images_train is missing: it holds the images of the train split",
    ),
    "no metadata": (
        lambda root: (root / METADATA).unlink(),
        "HAM10000_metadata.csv is missing: it holds a row per",
    ),
    "metadata is a folder": (
        lambda root: ((root / METADATA).unlink(), (root / METADATA).mkdir()),
        "HAM10000_metadata.csv is missing",
    ),
    "no column image_id": (
        lambda root: change_metadata(root, delete_column("image_id")),
        "has no column 'image_id'; it has",
    ),
    "no column dx": (
        lambda root: change_metadata(root, delete_column("dx")),
        "has no column 'dx'; it has lesion_id, image_id",
    ),
    "no column lesion_id": (
        lambda root: change_metadata(root, delete_column("lesion_id")),
        "has no column 'lesion_id'",
    ),
    "empty metadata": (lambda root: change_metadata(root, lambda text: ""), "has no column 'image_id'"),
    "semicolons": (replace(",", ";"), "has no column 'image_id'"),
    "not UTF-8": (
        lambda root: (root / METADATA).write_bytes(b"lesion_id,image_id,dx\n\xff\xfe,\xe9,nv\n"),
        "is not a CSV file in UTF-8",
    ),
    "no row": (replace("ISIC_0000003", "ISIC_9999999"), "has no row in"),
    "short row": (
        replace("ISIC_0000000,akiec,histo,50.0,male,back", "ISIC_0000000"),
        "image ISIC_0000000 has dx None; known are akiec, bcc, bkl, df, mel, nv, vasc",
    ),
    "unknown class": (
        replace("ISIC_0000000,akiec", "ISIC_0000000,scc"),
        "image ISIC_0000000 has dx 'scc'; known are akiec, bcc, bkl, df, mel, nv, vasc",
    ),
    "no lesion": (replace("HAM_akiec_0", ""), "image ISIC_0000000 has no lesion_id"),
    "rows that disagree": (
        lambda root: change_metadata(root, lambda text: text + "HAM_x,ISIC_0000000,nv,histo,1,male,back\n"),
        "has two rows for image_id ISIC_0000000 that do not agree",
    ),
    "no image": (empty_the_train_folder, "HAM10000_images_train holds no image (.bmp, .jpeg, .jpg"),
    "an image twice": (duplicate_an_image, "are the same image_id: keep one"),
    "a text as image": (
        lambda root: first_image(root).write_text("no image"),
        "ISIC_0000000.jpg: not an image that can",
    ),
    "an empty image": (lambda root: first_image(root).write_bytes(b""), "ISIC_0000000.jpg: the image is empty"),
    "a cut image": (
        lambda root: first_image(root).write_bytes(first_image(root).read_bytes()[:700]),
        "ISIC_0000000.jpg: the image is damaged or cut short",
    ),
    "a folder as image": (
        lambda root: (first_image(root).unlink(), (train_folder(root) / "ISIC_0000000.jpg").mkdir()),
        "ISIC_0000000.jpg",
    ),
    "one lesion of a class": (keep_one_lesion_of_a_class, "class df has 1 lesion in the training images: at least 2"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_folder_is_refused_in_one_line(root, fault):
    spoil, expected = FAULTS[fault]
    spoil(root)
    with pytest.raises(DataError) as refused:
        for examples in split_by_lesion(find_examples(root, "train"), 0.1, seed=0):
            load_squares(examples, 2, "test")
    assert expected in str(refused.value) and "\n" not in str(refused.value)


def test_a_missing_root_is_refused(tmp_path):
    with pytest.raises(DataError, match="nowhere is not a folder: give the one that holds"):
        find_examples(tmp_path / "nowhere", "train")


# Finding


def test_images_are_found_in_subfolders_with_the_class_and_lesion_of_their_row(root):
    examples = find_examples(root, "train")
    assert len(examples) == IMAGES
    assert [e.path.stem for e in examples] == [f"ISIC_{i:07d}" for i in range(IMAGES)]
    assert {e.path.parent.name for e in examples} == {"part_1", "deep", FOLDERS["train"]}
    assert all(e.lesion.startswith(f"HAM_{list(CLASSES)[e.label]}_") for e in examples)
    assert dataset.class_counts(examples) == dict.fromkeys(CLASSES, 4)


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".png", ".webp", ".bmp", ".tif"])
def test_images_of_other_formats_are_found(tmp_path, suffix):
    assert len(find_examples(make_root(tmp_path, suffix), "train")) == IMAGES


def test_other_files_are_ignored(root):
    (train_folder(root) / "Thumbs.db").write_bytes(b"x")
    (train_folder(root) / "README.txt").write_text("x")
    assert len(find_examples(root, "train")) == IMAGES


def test_a_byte_order_mark_and_rows_of_other_images_are_accepted(root):
    change_metadata(root, lambda text: "\ufeff" + text + "HAM_z,ISIC_7777777,,,,,\n" + text.splitlines()[1] + "\n")
    assert len(find_examples(root, "train")) == IMAGES


def test_the_test_split_has_its_own_folder(root):
    with pytest.raises(DataError, match="HAM10000_images_test is missing"):
        find_examples(root, "test")
    train_folder(root).rename(root / FOLDERS["test"])
    assert len(find_examples(root, "test")) == IMAGES


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


def test_no_lesion_is_on_both_sides_of_the_split():
    examples = many_examples()
    train, validation = split_by_lesion(examples, 0.1, seed=0)
    assert not {e.lesion for e in train} & {e.lesion for e in validation}
    assert sorted(train + validation, key=str) == sorted(examples, key=str)


def test_each_class_gives_its_share_of_lesions_to_validation():
    train, validation = split_by_lesion(many_examples(), 0.1, seed=0)
    lesions = Counter(label for label, _ in {(e.label, e.lesion) for e in validation})
    assert lesions == {0: 3, 1: 5, 2: 10, 3: 1, 4: 11, 5: 60, 6: 1}
    assert {e.label for e in train} == set(range(7))


def test_the_split_depends_on_the_seed_alone():
    examples = many_examples()
    sides = [
        {e.lesion for e in split_by_lesion(order, 0.1, seed)[1]}
        for order, seed in ((examples, 0), (examples, 0), (examples[::-1], 0), (examples, 1))
    ]
    assert sides[0] == sides[1] == sides[2] != sides[3]


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
    Image.new("RGB", (8, 8)).save(tmp_path / "good.jpg")
    examples = [Example(tmp_path / name, 0, "x") for name in ["bad.jpg"] + ["good.jpg"] * 500]
    with pytest.raises(DataError, match=r"bad\.jpg: not an image"):
        load_squares(examples, 2, "test")
    assert len(decoded) < 100
