"""Labelled sets: what is found and refused in HAM10000's layout or a folder with a CSV file, splits, and decoding."""

from __future__ import annotations

import shutil
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
    find_ham10000,
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
    "no table": (lambda root: (root / METADATA).unlink(), "HAM10000_metadata.csv is missing: it holds a row per image"),
    "no column": (replace(",dx,", ",name,"), "found the columns lesion_id, image_id, name, dx_type"),
    "a workbook": (lambda root: (root / METADATA).write_bytes(b"PK\x03\x04\x14\0"), "found a workbook or an archive"),
    "no row": (replace("ISIC_0000003", "ISIC_9999999"), "has no row in"),
    "short row": (
        replace("ISIC_0000000,akiec,histo,50.0,male,back", "ISIC_0000000"),
        "HAM10000_metadata.csv: line 2: found the diagnosis '', expected one of akiec, bcc, bkl, df, mel, nv, vasc",
    ),
    "no lesion": (replace("HAM_akiec_0", ""), "line 2: found no lesion_id of ISIC_0000000"),
    "rows that disagree": (
        lambda root: change_metadata(root, lambda text: text + "HAM_x,ISIC_0000000,nv,histo,1,male,back\n"),
        "line 30: found another row of ISIC_0000000 than on line 2",
    ),
    "no image": (delete_images, "HAM10000_images_train holds no image"),
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


def test_all_faults_come_at_once(root):
    """Whatever the folder and the table have, in one run."""
    change_metadata(
        root, lambda text: text.replace("ISIC_0000003,", "ISIC_9999999,").replace("HAM_bcc_1,", "HAM_bcc_1,")
    )
    change_metadata(root, lambda text: text.replace("ISIC_0000000,akiec", "ISIC_0000000,wart"))
    (train_folder(root) / "ISIC_0000100.nef").write_bytes(b"content")
    (train_folder(root) / "ISIC_0000101.jpg").touch()
    with pytest.raises(DataError) as refused:
        find_examples(root, "train")
    lines = str(refused.value).splitlines()
    assert len(lines) == 4 and "line 2: found the diagnosis 'wart'" in lines[0]
    assert "ISIC_0000100.nef is a camera's RAW file" in lines[1] and "ISIC_0000101.jpg is empty" in lines[2]
    assert "ISIC_0000003" in lines[3] and "has no row" in lines[3]


@pytest.mark.parametrize(
    "companion",
    [
        "._ISIC_0000000.jpg",
        ".ipynb_checkpoints/ISIC_0000000-checkpoint.jpg",
        "__MACOSX/ISIC_0000000.jpg",
        "@eaDir/ISIC_0000000.jpg",
        "Thumbs.db",
        "ISIC_0000000_segmentation.png",
        "ISIC_0000000_explained.png",
        "ISIC_0000000 (1).jpg",
        "part_1/ISIC_0000000.dng",
        "again/ISIC_0000000.jpg",
    ],
)
def test_companion_files_do_not_stop_a_training(root, companion: str):
    before = find_examples(root, "train")
    path = train_folder(root) / companion
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(first_image(root).read_bytes())
    found = find_ham10000(root, "train").checked()
    assert found.examples == before or "again" in companion
    assert [example.path.name for example in found.examples] == [example.path.name for example in before]
    is_system = companion.startswith((".", "__", "@", "Thumbs"))
    assert found.notes == ([] if is_system else [f"left out: 1 masks, explanations and copies ({path.name})"])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            lambda text: text.replace(",nv,", ", NV ,").replace(",mel,", ",Melanoma,"), id="capitals and names"
        ),
        pytest.param(lambda text: text.replace(",", ";").replace("dx", "Diagnosis"), id="semicolons"),
        pytest.param(lambda text: "sep=,\n" + text.replace(",mel,", ",Mélanome,"), id="French"),
        pytest.param(lambda text: text.replace("ISIC_0000001", "part_1\\ISIC_0000001.jpg"), id="Windows paths"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_the_table_is_as_a_spreadsheet_saves_it(root, change, encoding: str):
    before = find_examples(root, "train")
    (root / METADATA).write_bytes(change((root / METADATA).read_text()).encode(encoding))
    assert find_examples(root, "train") == before


# HAM10000 as downloaded


def as_downloaded(root: Path, folders: tuple[str, str], table: str) -> Path:
    """HAM10000 with a photograph in two lesions of each class in each folder, and masks next to them."""
    made = make_root(root, lesions=12, side=8)
    (made / METADATA).rename(made / table)
    images = sorted(train_folder(made).rglob("*.jpg"))
    for number, image in enumerate(images):
        folder = made / folders[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{image.stem}_segmentation.png").write_bytes(b"mask")
        image.rename(folder / image.name)
    shutil.rmtree(train_folder(made))
    return made


@pytest.mark.parametrize(
    ("folders", "table"),
    [
        (("HAM10000_images_part_1", "HAM10000_images_part_2"), "HAM10000_metadata"),
        (("ham10000_images_part_1", "ham10000_images_part_2"), "HAM10000_metadata.csv"),
        (("dataverse/HAM10000_images_part_1/x", "dataverse/HAM10000_images_part_2"), "HAM10000_metadata.tab"),
    ],
)
def test_ham10000_as_downloaded_is_split_by_lesion(tmp_path, folders: tuple[str, str], table: str):
    root = as_downloaded(tmp_path / "ham", folders, table)
    train, test = (find_ham10000(root, split).checked() for split in ("train", "test"))
    images, lesions = ([{get(e) for e in part.examples} for part in (train, test)] for get in (stem_of, lesion_of))
    assert not lesions[0] & lesions[1] and len(images[0]) + len(images[1]) == 7 * 18
    assert 0.1 < len(lesions[1]) / (7 * 12) < 0.3
    assert train.notes == [
        f"HAM10000 as downloaded, split by lesion (SHA-256 of lesion_id): {len(images[0])} images for training, "
        f"{len(images[1])} for testing",
        f"left out: {7 * 18} masks, explanations and copies (ISIC_0000000_segmentation.png, "
        "ISIC_0000001_segmentation.png, ISIC_0000002_segmentation.png, …)",
    ]
    change = next(path for path in root.rglob("ISIC_0000000.jpg"))
    change.unlink()
    less = find_ham10000(root, "train")
    assert {stem_of(e) for e in less.examples} == images[0] - {"ISIC_0000000"}
    assert "; 1 rows have no image" in less.notes[0]


def stem_of(example: Example) -> str:
    return example.path.stem


def lesion_of(example: Example) -> str:
    return example.lesion


# A folder and a CSV file


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param("file;dx\r\n3.png;Nævus\r\ndeep\\8.png;Carcinome basocellulaire\r\n".encode("cp1252"), id="Excel"),
        pytest.param("File\tLabel\n3\tnv\n8\tBCC\n".encode("utf-16"), id="names without folder and extension"),
        pytest.param(b"image,NV,BCC,MEL\n3,1.0,0.0,0.0\n8,0.0,1.0,0.0\n", id="ISIC's one-hot tables"),
    ],
)
def test_labels_are_as_other_programs_write_them(photographs, labels: bytes):
    (photographs / "mine.csv").write_bytes(labels)
    assert find_labelled(photographs, photographs / "mine.csv") == [
        Example(photographs / "3.png", NV, ""),
        Example(photographs / "deep/8.png", BCC, ""),
    ]


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
    "no column": (lambda f: relabel(f, lambda t: t.replace("file,", "name,")), "found the columns name, dx"),
    "no row": (lambda f: relabel(f, lambda t: t.splitlines()[0] + "\n"), "labels.csv: found no row"),
    "unknown class": (lambda f: relabel(f, lambda t: t.replace("0.png,akiec", "0.png,scc")), "the diagnosis 'scc'"),
    "short row": (lambda f: relabel(f, lambda t: t.replace("8.png,bcc,L4,38,Male,back", "8.png")), "the diagnosis ''"),
    "no name": (lambda f: relabel(f, lambda t: t.replace("3.png", "")), "expected a file inside"),
    "a name too long": (lambda f: relabel(f, lambda t: t.replace("3.png", "3" * 300)), "', which is missing in "),
    "outside": (lambda f: relabel(f, lambda t: t.replace("3.png", "../3.png")), "'../3.png', expected a file inside"),
    "absolute": (lambda f: relabel(f, lambda t: t.replace("3.png", "/3.png")), "'/3.png', expected a file inside"),
    "twice": (lambda f: relabel(f, lambda t: t + "./3.png,df,L1\n"), "line 11: found 3.png again, which is on line 5"),
    "RAW": (lambda f: relabel(f, lambda t: t.replace("3.png", "3.NEF")), "3.NEF, which is a camera's RAW file"),
}


@pytest.mark.parametrize("fault", LABEL_FAULTS)
def test_a_fault_of_the_labels_is_refused_in_one_line(photographs, fault):
    (photographs / "3.NEF").write_bytes(b"content")
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


def test_unreadable_images_are_listed_at_once_and_ten_of_them_stop_the_decoding(tmp_path, monkeypatch):
    decoded = []

    def slow(content, side):
        decoded.append(content)
        time.sleep(0.01)
        return read_square(content, side)

    monkeypatch.setattr(dataset, "read_square", slow)
    (tmp_path / "bad.jpg").write_bytes(b"bad")
    Image.new("RGB", (40, 40)).save(tmp_path / "good.jpg")
    examples = [Example(tmp_path / name, 0, "x") for name in ["bad.jpg", "good.jpg"] * 12 + ["good.jpg"] * 500]
    with pytest.raises(DataError, match=r"bad\.jpg: not an image") as refused:
        load_squares(examples, 2, "test")
    assert len(str(refused.value).splitlines()) == 10 and len(decoded) < 100
    with pytest.raises(DataError) as refused:
        load_squares(examples[:5], 2, "test")
    assert len(str(refused.value).splitlines()) == 3


def test_the_shorter_sides_of_photographs(tmp_path):
    sizes = [(30, 20), (20, 31), (8, 8), (100, 99)]
    examples = [Example(tmp_path / f"{number}.png", NV, "") for number in range(len(sizes))]
    for example, size in zip(examples, sizes, strict=True):
        Image.new("RGB", size).save(example.path)
    assert short_sides(examples, 3).tolist() == [20, 20, 8, 99]
    examples[2].path.write_bytes(b"x")
    with pytest.raises(DataError, match=r"2\.png: cannot identify image file"):
        short_sides(examples, 2)
