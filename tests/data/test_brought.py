"""Files as people bring them: read, told, and the same faces as in Kaggle's own layout; or refused with the way out."""

import io
import json
from pathlib import Path

import copies
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from copies import BROUGHT, NAMES, as_told, bring, png, same
from forms import forms, lying, saved
from PIL import Image

from ferops.data.readers import archives, image_files, layouts
from ferops.data.readers.classes import Classes
from ferops.data.readers.decoding import decode
from ferops.data.readers.faces import BadFile, BadImage, FaceDataset, UnknownLayout


@pytest.mark.parametrize("what", BROUGHT)
def test_what_people_bring_gives_the_same_faces(what, faces, tmp_path):
    brought = BROUGHT[what]
    read = layouts.read(bring(tmp_path / "copy", brought.tree(faces)), Classes.parse(brought.labels, brought.skip))
    assert same(read, as_told(faces, brought.split))
    assert read.split == brought.split


TOLD = {
    "CSV in UTF-16": "CSV with emotion, pixels and Usage (UTF-16, separated by semicolons)",
    "CSV with 2,304 columns of pixels": "CSV with label, 2,304 columns of pixels and Usage",
    "folders without a split": "image folders without a split",
    "RAF-DB": ("image folders with one test split, 1 surprise, 2 fear, 3 disgust, 4 happy, 5 sad, 6 angry, 7 neutral"),
    "a folder of Parquet shards": (
        "Parquet with PublicTest and PrivateTest told apart, "
        "0 angry, 1 disgust, 2 fear, 3 happy, 4 neutral, 5 sad, 6 surprise"
    ),
}


@pytest.mark.parametrize("what", TOLD)
def test_the_layout_is_told(what, faces, tmp_path):
    brought = BROUGHT[what]
    path = bring(tmp_path / "copy", brought.tree(faces))
    assert layouts.read(path, Classes.parse(brought.labels, brought.skip)).layout == TOLD[what]


def test_a_class_that_is_left_out_is_counted(faces, tmp_path):
    path = bring(tmp_path / "copy", BROUGHT["folders with contempt"].tree(faces))
    assert layouts.read(path, Classes.parse("", "contempt")).left_out == ("3 images of contempt, to be skipped",)


def test_rows_of_a_csv_may_be_of_a_class_that_is_left_out(faces, tmp_path):
    text = copies.kaggle(faces)["fer2013/fer2013.csv"].decode()
    path = tmp_path / "a.csv"
    path.write_text(text + text.splitlines()[1].replace("0,", "7,", 1) + "\n")
    assert same(layouts.read(path, Classes.parse("", "7")), copies.ordered(faces))


def test_rows_that_a_spreadsheet_left_empty_are_passed_over_and_its_70_point_0_is_70(faces, tmp_path):
    path = bring(tmp_path / "copy", BROUGHT["CSV with semicolons"].tree(faces))
    rows = path.read_text().splitlines()
    rows[3] = rows[3].replace(" ", ".0 ")
    path.write_text("\n".join([*rows, ";;", ";;"]))
    assert same(layouts.read(path), copies.ordered(faces))


def _one_more(name: str) -> copies.Tree:
    return {name: png(copies.made_up(1).images[0])}


REFUSED = {
    "contempt": ("folders with contempt", {}, {}, UnknownLayout, "'contempt'; expected angry, disgust, fear"),
    "contempt and its way out": ("folders with contempt", {}, {}, UnknownLayout, "--skip 'contempt' leaves it out"),
    "a slip": ("folders without a split", {}, _one_more("faces/suprise/1.png"), UnknownLayout, "'suprise' (surprise?)"),
    "a slip below a split": ("RAF-DB", {}, _one_more("DATASET/train/hapy/1.png"), UnknownLayout, "'hapy' (happy?)"),
    "numbers without names": ("RAF-DB", {"labels": ""}, {}, UnknownLayout, "--labels NAME,NAME"),
    "a name too few": ("RAF-DB", {"labels": "happy,sad"}, {}, UnknownLayout, "2 names of numbered classes"),
    "names for numbers where there are names": (
        "folders without a split", {"labels": ",".join(NAMES)}, {}, UnknownLayout, "found no numbers",
    ),
    "bare numbers in Parquet": ("Parquet with bare numbers", {"labels": ""}, {}, UnknownLayout, "row 1: unknown"),
    "numbers in a column that is not FER2013's": (
        "CSV with numbered classes of its own", {"labels": ""}, {}, UnknownLayout,
        "row 2 (the header is row 1): unknown expression '1', '2', '3', '4', '5', '6', '7'; expected the names of",
    ),
    "several of them": (
        "folders without a split", {}, _one_more("faces/suprise/1.png") | _one_more("faces/awe/1.png"), UnknownLayout,
        "suprise/1.png: unknown expression 'suprise' (surprise?), 'awe'; expected angry, disgust, fear, happy, sad, "
        "surprise, neutral; --skip 'awe' leaves it out",
    ),
    "images with a split and without": ("RAF-DB", {}, _one_more("faces/happy/1.png"), UnknownLayout, "or all as"),
    "an image beside the classes": ("folders without a split", {}, _one_more("1.png"), UnknownLayout, "1.png: exp"),
    "an image below a class": ("folders without a split", {}, _one_more("sad/a/1.png"), UnknownLayout, "or all as"),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED)
def test_what_has_to_be_said_by_the_user_is_never_guessed(fault, faces, tmp_path):
    what, rules, added, kind, says = REFUSED[fault]
    brought = BROUGHT[what]
    path = bring(tmp_path / "copy", brought.tree(faces) | added)
    with pytest.raises(kind) as error:
        layouts.read(path, Classes.parse(rules.get("labels", brought.labels), ""))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "start"), [("7z", b"7z\xbc\xaf\x27\x1c\x00\x04"), ("rar", b"Rar!\x1a\x07\x01\x00"), ("zst", b"(\xb5/\xfd")]
)
@pytest.mark.parametrize("place", ["alone", "in a folder"])
def test_an_archive_that_is_not_read_is_named_with_the_way_out(kind, start, place, tmp_path):
    path = tmp_path / "copy" / f"fer2013.{kind}"
    path.parent.mkdir()
    path.write_bytes(start + bytes(3000))
    with pytest.raises(BadFile, match=rf"fer2013\.{kind}: \.{kind} archives are not read; unpack it"):
        layouts.read(path if place == "alone" else path.parent)


def test_an_archive_beside_what_it_was_unpacked_to_is_not_read_a_second_time(faces, tmp_path):
    copies.as_folder(tmp_path, copies.three_folders(faces))
    copies.as_zip(tmp_path / "archive.zip", copies.three_folders(faces))
    assert same(layouts.read(tmp_path), copies.ordered(faces))


def test_archives_named_by_a_split_are_its_folders(faces, tmp_path):
    tree = copies.three_folders(faces)
    for split in ("train", "validation", "test"):
        inside = {name.partition("/")[2]: content for name, content in tree.items() if name.startswith(split)}
        copies.as_zip(tmp_path / f"{split}.zip", inside)
    assert same(layouts.read(tmp_path), copies.ordered(faces))


def _shaded(height: int = 96, width: int = 96) -> np.ndarray:
    """Gray levels that tell the corners apart: uint8 (height, width)."""
    down, right = np.mgrid[0:height, 0:width]
    return (40 + 150 * down / height + 50 * right / width).astype(np.uint8)


FORMS = forms(Image.fromarray(_shaded()).convert("RGB"))


@pytest.mark.parametrize("form", FORMS)
def test_a_picture_in_any_form_is_the_same_upright_gray_picture(form):
    content, distance = FORMS[form]
    decoded = decode(form, content)
    assert decoded.size == (96, 96)
    assert np.abs(decoded.pixels.astype(int) - _shaded()).max() <= distance


def test_a_lying_picture_has_its_upright_size(tmp_path):
    upright = Image.fromarray(_shaded(120, 80)).convert("RGB")
    for form in ("JPEG", "PNG", "TIFF"):
        assert decode(form, lying(upright, form)).size == (80, 120)


def test_training_and_scoring_read_every_form_of_an_image_to_the_same_pixels(tmp_path):
    contents = [content for content, _ in FORMS.values()]
    for number, content in enumerate(contents):
        for name in NAMES:
            copies.as_folder(tmp_path, {f"{name}/{number}": content})
    scored, bad = image_files.read(image_files.find(tmp_path), tmp_path)
    assert not bad
    trained = layouts.read(tmp_path)
    assert trained.recoloured > 0
    assert {face.pixels.tobytes() for face in scored} == {image.tobytes() for image in trained.images}


def _parquet(path: Path, columns: dict[str, list]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


FACE = png(copies.made_up(1).images[0])
BAD_PARQUET = {
    "no images": ({"label": ["happy"], "text": ["x"]}, UnknownLayout, "found 'label, text'"),
    "no classes": ({"image": [FACE]}, UnknownLayout, "a column label; found 'image'"),
    "an image missing": ({"image": [FACE, None], "label": ["happy", "sad"]}, BadFile, "row 2: expected"),
    "a path in an image's place": (
        {"image": [{"bytes": FACE}, {"bytes": None}], "label": ["sad", "sad"]}, BadFile, "row 2: expected an image",
    ),
    "a class missing": ({"image": [FACE, FACE], "label": ["happy", None]}, BadFile, "row 2: expected an image"),
    "bytes that are no image": ({"image": [b"hello"], "label": ["happy"]}, BadImage, "row 1: found no image"),
    "a class of no name": ({"image": [FACE], "label": ["contempt"]}, UnknownLayout, "--skip 'contempt'"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD_PARQUET)
def test_a_bad_parquet_file_is_one_line_that_names_the_row(fault, tmp_path, capfd):
    columns, kind, says = BAD_PARQUET[fault]
    path = _parquet(tmp_path / "a.parquet", columns)
    with pytest.raises(kind) as error:
        layouts.read(path)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_parquet_file_that_is_cut_short_is_a_bad_file(share, faces, tmp_path):
    whole = copies.parquet(faces)
    path = tmp_path / "a.parquet"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BadFile, match="damaged or cut short"):
        layouts.read(path)


LABEL_FILES = {
    "lines in order": ("labels.txt", "\n".join(NAMES)),
    "numbers with a dash, not in order": (
        "labels.txt",
        "\n".join(f"{code} - {NAMES[code]}" for code in (3, 0, 1, 2, 4, 5, 6)),
    ),
    "numbers with a point": ("classes.txt", "\n".join(f"{code}. {name}" for code, name in enumerate(NAMES))),
    "names before numbers": ("label.names", "\n".join(f"{name}_{code}" for code, name in enumerate(NAMES))),
    "JSON in lines": ("label_map.json", json.dumps({str(code): name for code, name in enumerate(NAMES)}, indent=1)),
    "a JSON list": ("classes.json", json.dumps(NAMES)),
}


@pytest.mark.parametrize("form", LABEL_FILES)
def test_a_label_file_names_the_numbers_in_any_common_form(form, faces, tmp_path):
    name, content = LABEL_FILES[form]
    tree = copies.BROUGHT["numbered folders with labels.txt"].tree(faces)
    path = bring(
        tmp_path / "copy", {key: value for key, value in tree.items() if ".txt" not in key} | {name: content.encode()}
    )
    assert same(layouts.read(path), as_told(faces, "random"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (json.dumps({name: float(code) for code, name in enumerate(NAMES)}), "names of numbered classes"),
        ("0 angry\n0 happy\n1 sad", "names of numbered classes"),
        (f"angry {'1' * 5000}", "names of numbered classes"),
    ],
)
def test_a_label_file_that_does_not_name_each_number_once_is_not_guessed_at(content, says, faces, tmp_path):
    tree = copies.BROUGHT["numbered folders with labels.txt"].tree(faces)
    with pytest.raises(UnknownLayout, match=says):
        layouts.read(bring(tmp_path / "copy", tree | {"labels.txt": content.encode()}))


def test_two_label_files_that_contradict_each_other_are_refused(faces, tmp_path):
    tree = copies.BROUGHT["numbered folders with labels.txt"].tree(faces)
    tree["faces/labels.txt"] = "\n".join(sorted(NAMES)).encode()
    with pytest.raises(UnknownLayout, match="in another way than a file before it; give --labels"):
        layouts.read(bring(tmp_path / "copy", tree))


def test_a_class_to_be_left_out_that_is_not_there_is_refused(faces, tmp_path):
    path = bring(tmp_path / "copy", BROUGHT["folders with contempt"].tree(faces))
    with pytest.raises(UnknownLayout, match=r"--skip 'contmept': expected one of the classes that are there: angry"):
        layouts.read(path, Classes.parse("", "contempt, contmept"))


def test_a_word_that_is_like_another_expression_is_not_taken_for_it(tmp_path):
    copies.as_folder(tmp_path, {"train/unhappy/1.png": FACE, "train/sad/1.png": FACE})
    with pytest.raises(UnknownLayout, match="'unhappy'; expected angry, disgust"):
        layouts.read(tmp_path)


def test_csvs_named_by_a_split_are_one_copy(faces, tmp_path):
    for name, usage in (("train", "Training"), ("val", "PublicTest"), ("test", "PrivateTest")):
        part = faces.usages == usage
        some = FaceDataset(faces.images[part], faces.labels[part], faces.usages[part])
        (tmp_path / f"{name}.csv").write_bytes(copies.train_and_test(some)["train.csv"])
    assert same(layouts.read(tmp_path), copies.ordered(faces))
    (tmp_path / "more.csv").write_bytes(copies.train_and_test(faces)["train.csv"])
    with pytest.raises(UnknownLayout, match="several CSVs without a split"):
        layouts.read(tmp_path)


def test_the_first_line_that_excel_writes_for_itself_is_passed_over(faces, tmp_path):
    path = bring(tmp_path / "copy", BROUGHT["CSV with semicolons"].tree(faces))
    path.write_bytes(b"sep=;\r\n" + path.read_bytes())
    assert same(layouts.read(path), copies.ordered(faces))


@pytest.mark.parametrize("column", ["Usage", "split"])
def test_a_column_of_splits_in_parquet_is_the_split(column, faces, tmp_path):
    table = pq.read_table(io.BytesIO(copies.parquet(faces)))
    words = [{"PublicTest": "validation"}.get(usage, usage) for usage in faces.usages.tolist()]
    pq.write_table(table.append_column(column, [words]), tmp_path / "a.parquet")
    assert same(layouts.read(tmp_path / "a.parquet"), copies.ordered(faces))


def test_parquet_files_whose_names_end_with_the_split_have_it(faces, tmp_path):
    for usage, name in (("Training", "train"), ("PublicTest", "validation"), ("PrivateTest", "test")):
        part = faces.usages == usage
        some = FaceDataset(faces.images[part], faces.labels[part], faces.usages[part])
        (tmp_path / f"fer2013_{name}.parquet").write_bytes(copies.parquet(some))
    assert same(layouts.read(tmp_path), copies.ordered(faces))


def test_a_shard_that_git_lfs_did_not_fetch_is_named(faces, tmp_path):
    tree = copies.BROUGHT["a folder of Parquet shards"].tree(faces)
    last = max(tree)
    tree[last] = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    with pytest.raises(BadFile, match=f"{Path(last).name}: the Parquet file is damaged"):
        layouts.read(bring(tmp_path / "copy", tree))


HARMLESS = {
    "a CSV in a folder named by a year": lambda faces: {f"2013/{k}": v for k, v in copies.icml(faces).items()},
    "logs in numbered folders": lambda faces: copies.three_folders(faces) | {"mlruns/0/meta.yaml": b"a: 1"},
    "a long number in a text": lambda faces: copies.kaggle(faces) | {"z.txt": b"1" * 5000},
    "a word file": lambda faces: copies.three_folders(faces) | {"readme.docx": b"PK list of files"},
    "a CSV called labels.txt": lambda faces: {"labels.txt": copies.kaggle(faces)["fer2013/fer2013.csv"]},
}


@pytest.mark.parametrize("what", HARMLESS)
def test_what_lies_beside_the_faces_does_no_harm(what, faces, tmp_path):
    copies.as_folder(tmp_path, HARMLESS[what](faces))
    assert same(layouts.read(tmp_path), copies.ordered(faces))


def test_an_archive_that_is_not_opened_is_said(faces, tmp_path):
    copies.as_folder(tmp_path, copies.three_folders(faces))
    copies.as_zip(tmp_path / "more.zip", copies.three_folders(faces))
    assert layouts.read(tmp_path).left_out == ("more.zip: an archive beside what was read",)


def test_images_in_no_class_folder_beside_those_of_a_split_are_counted(faces, tmp_path):
    tree = copies.three_folders(faces) | {"sheets/1.png": FACE, "sheets/2.png": FACE, "logo.png": FACE}
    copies.as_folder(tmp_path, tree)
    read = layouts.read(tmp_path)
    assert same(read, copies.ordered(faces))
    assert read.left_out == (f"3 images in no class folder, the first {tmp_path}/logo.png",)


def test_folders_that_are_links_are_followed_and_a_circle_is_not(faces, tmp_path):
    copies.as_folder(tmp_path / "real", copies.three_folders(faces))
    (tmp_path / "copy").mkdir()
    for split in ("train", "validation", "test"):
        (tmp_path / "copy" / split).symlink_to(tmp_path / "real" / split)
    assert same(layouts.read(tmp_path / "copy"), copies.ordered(faces))
    for name in ("circle", "another"):
        (tmp_path / "real/train" / name).symlink_to(tmp_path / "real")
    assert same(layouts.read(tmp_path / "copy"), copies.ordered(faces))
    for name in "ab":  # links to each other: every way through them is another path
        (tmp_path / "real/test" / f"to {name}").symlink_to(tmp_path / "real/train")
        (tmp_path / "real/train" / f"to {name}").symlink_to(tmp_path / "real/test")
    assert len(archives.find(tmp_path / "real")) == len(faces.images)


def test_a_class_within_a_class_is_refused(faces, tmp_path):
    tree = copies.BROUGHT["folders without a split"].tree(faces)
    for name in ("happy/neutral/1.png", "happy/3/1.png"):
        with pytest.raises(UnknownLayout, match=f"{name}: expected images as"):
            layouts.read(bring(tmp_path / name[6], tree | {name: FACE}), Classes.parse("", ""))


def test_a_heic_photograph_is_named_as_such_and_32_bits_are_refused(tmp_path):
    with pytest.raises(BadImage, match="found a HEIC image, which is not read"):
        decode("a.heic", b"\x00\x00\x00\x18ftypheic" + bytes(500))
    with pytest.raises(BadImage):
        decode("a.tiff", saved(Image.fromarray(np.full((48, 48), 70_000, np.int32)), "TIFF"))


def test_a_file_that_names_other_things_than_the_classes_is_of_no_harm(faces, tmp_path):
    tree = copies.three_folders(faces)
    for name, content in {"labels.txt": b"1.png 3\n2.png 4\n", "classes.json": b"12", "label_map.json": b"{"}.items():
        copies.as_folder(tmp_path, tree | {name: content})
        assert same(layouts.read(tmp_path), copies.ordered(faces))
