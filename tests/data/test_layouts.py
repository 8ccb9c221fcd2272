"""The same faces through every layout and packing: the same faces, the same manifest."""

import hashlib
import json
import zlib
from dataclasses import replace
from pathlib import Path

import copies
import cv2
import numpy as np
import pytest
from copies import LAYOUTS, PACKINGS, ordered, png, same

from ferops import params as parameters
from ferops.data import prepared
from ferops.data.readers import layouts
from ferops.data.readers.faces import BadImage, FaceDataset, UnknownLayout
from ferops.labels import MERGED, NAMES, SPLITS
from ferops.stages import preprocess


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_in_every_packing_gives_the_same_faces(layout, packing, faces, tmp_path):
    PACKINGS[packing](tmp_path / "download", LAYOUTS[layout](faces))
    read = layouts.read(tmp_path / "download")
    assert same(read, ordered(faces))
    assert (read.resized, read.recoloured, read.left_out) == (0, 0, ())
    assert read.layout.startswith("CSV" if "csv" in layout else "image folders")


def _manifest(path: Path, split: str) -> str:
    """Digest of what the preprocess stage makes of a copy."""
    parameters.merge({"data": {"source": path.as_posix(), "dataset": "other", "split": split}})
    preprocess.main()
    return hashlib.sha256(Path("data/prepared/manifest.parquet").read_bytes()).hexdigest()


def test_every_layout_gives_the_same_manifest(faces, workplace):
    found = set()
    for number, (layout, packing) in enumerate(
        [(layout, packing) for layout in LAYOUTS for packing in ("folder", "zip", "tar.gz")]
    ):
        path = Path(f"copy{number}")
        PACKINGS[packing](path, LAYOUTS[layout](faces))
        found.add(_manifest(path, "official"))
    assert len(found) == 1


def test_merged_folders_give_the_manifest_of_the_csv_split_by_folders(faces, workplace):
    copies.as_folder(Path("csv"), copies.kaggle(faces))
    copies.as_zip(Path("merged.zip"), copies.merged_folders(faces))
    assert _manifest(Path("csv"), "folders") == _manifest(Path("merged.zip"), "folders")


def test_a_csv_without_a_split_gives_the_manifest_of_the_one_with_it_where_ferops_cuts(faces, workplace):
    copies.as_folder(Path("csv"), copies.kaggle(faces))
    copies.as_zip(Path("plain.zip"), copies.train_and_test(faces))
    assert _manifest(Path("csv"), "random") == _manifest(Path("plain.zip"), "random")


def test_train_csv_is_cut_80_10_10_with_like_shares_of_every_class_and_test_csv_is_left_out(workplace):
    faces = copies.made_up(700)
    copies.as_folder(Path("kaggle"), copies.train_and_test(faces))
    read = layouts.read(Path("kaggle"))
    assert same(read, ordered(copies.unsplit(faces)))
    assert read.left_out == ("test.csv: it has no labels",)
    _manifest(Path("kaggle"), "official")
    done = prepared.load(Path("data/prepared"))
    for split, number in zip(SPLITS, (80, 10, 10), strict=True):
        assert np.bincount(done.split(split)[1], minlength=7).tolist() == [number] * 7
    assert done.report["left_out"] == ["test.csv: it has no labels"]


def test_test_csv_alone_says_that_it_has_no_labels(faces, tmp_path):
    path = tmp_path / "test.csv"
    path.write_bytes(copies.train_and_test(faces)["test.csv"])
    with pytest.raises(UnknownLayout, match=r"it has no labels; expected .* train\.csv"):
        layouts.read(path)


def test_of_several_csvs_the_one_that_tells_the_split_is_read(faces, tmp_path):
    tree = copies.train_and_test(faces) | copies.icml(faces) | {"zz.csv": copies.icml(faces)["icml_face_data.csv"]}
    copies.as_zip(tmp_path / "challenge.zip", dict(sorted(tree.items(), reverse=True)))
    read = layouts.read(tmp_path / "challenge.zip")
    assert same(read, ordered(faces))
    assert len(read.left_out) == 3
    assert any("train.csv: zz.csv tells more" in note for note in read.left_out)


def test_folders_without_prefixes_merge_the_two_tests(faces, tmp_path):
    copies.as_folder(tmp_path, copies.merged_folders(faces))
    read = layouts.read(tmp_path)
    assert sorted(set(read.usages)) == [MERGED, "Training"]
    assert np.count_nonzero(read.usages == MERGED) == 56


def test_the_label_is_the_folders_name_and_not_its_place_in_the_alphabet(faces, tmp_path):
    copies.as_folder(tmp_path, copies.merged_folders(faces))
    alphabetical = sorted(path.name for path in (tmp_path / "train").iterdir())
    assert alphabetical != list(NAMES)
    assert same(replace(layouts.read(tmp_path), usages=faces.usages), replace(ordered(faces), usages=faces.usages))


@pytest.mark.parametrize(
    ("folder", "name"), [("Surprised", "surprise"), ("sadness", "sad"), ("Fearful", "fear"), ("ANGER", "angry")]
)
def test_other_words_for_an_expression_are_understood(folder, name, faces, tmp_path):
    tree = {path.replace(f"/{name}/", f"/{folder}/"): content for path, content in copies.three_folders(faces).items()}
    tree |= {path: content for path, content in tree.items() if f"/{folder}/" in path}
    copies.as_folder(tmp_path, tree)
    assert same(layouts.read(tmp_path), ordered(faces))


def _with(tree: copies.Tree, name: str, content: bytes) -> copies.Tree:
    return {**tree, name: content}


def test_images_of_another_size_or_in_colour_are_converted_and_counted(faces, tmp_path, workplace):
    tree = copies.prefixed_folders(faces)
    first, second, third, fourth = list(tree)[:4]
    large = faces.images[0].repeat(4, axis=0).repeat(4, axis=1)
    tree[first] = png(large)
    tree[second] = png(cv2.cvtColor(faces.images[1], cv2.COLOR_GRAY2BGR))
    tree[third] = png(faces.images[2].astype(np.uint16) * 257)
    tree[fourth] = png(np.dstack([faces.images[3].repeat(2, axis=1)] * 3 + [np.full((48, 96), 9, np.uint8)]))
    copies.as_folder(tmp_path / "copy", tree)
    read = layouts.read(tmp_path / "copy")
    assert (read.resized, read.recoloured) == (2, 3)
    assert same(read, ordered(faces))
    _manifest(tmp_path / "copy", "official")
    report = json.loads(Path("data/prepared/report.json").read_text())
    assert report["converted"] == {"resized": 2, "recoloured": 3}


def test_jpegs_are_read_in_gray_and_in_colour(faces, tmp_path):
    smooth = [cv2.GaussianBlur(image, (9, 9), 4) for image in faces.images[:14]]
    for number, image in enumerate(smooth):
        shape = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if number % 2 else image
        target = tmp_path / f"train/{NAMES[number % 7]}/{number}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(cv2.imencode(".jpg", shape, [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes())
    read = layouts.read(tmp_path)
    assert read.recoloured == 7
    for image in smooth:
        assert min(np.abs(image.astype(int) - other).mean() for other in read.images) < 1.5


BAD_FOLDERS = {
    "an unknown expression": ({"train/contempt/1.png": None}, UnknownLayout, "'contempt'"),
    "a number for an expression": (
        {"train/4/1.png": None},
        UnknownLayout,
        "unknown expression '4'; expected the names of numbered classes",
    ),
    "an image beside the expressions": ({"train/1.png": None}, UnknownLayout, "train/EXPRESSION/FILE"),
    "an image too deep": ({"train/happy/more/1.png": None}, UnknownLayout, "train/EXPRESSION/FILE"),
    "expressions without a split": ({"happy/1.png": None}, UnknownLayout, "train/EXPRESSION/FILE"),
    "a name that contradicts its folder": ({"train/sad/PrivateTest_1.png": None}, UnknownLayout, "says PrivateTest"),
    "a training image among the tests": ({"test/sad/Training_1.png": None}, UnknownLayout, "says Training"),
    "only some tests told apart": ({"test/sad/1.png": None}, UnknownLayout, "expected all or none"),
    "a file that is no image": ({"train/happy/notes.txt": b"hello"}, BadImage, "notes.txt: found no image"),
    "an empty file": ({"train/happy/1.png": b""}, BadImage, "1.png: found no image"),
    "a PNG cut short": ({"train/happy/1.png": 500}, BadImage, "damaged or cut short"),
    "a JPEG cut short": ({"train/happy/1.jpg": 400}, BadImage, "damaged or cut short"),
}


@pytest.mark.parametrize("packing", ["folder", "tar.gz"])
@pytest.mark.parametrize("fault", BAD_FOLDERS)
def test_a_bad_folder_is_refused_in_one_line_that_names_the_file(fault, packing, faces, tmp_path, capfd):
    added, kind, says = BAD_FOLDERS[fault]
    tree = copies.prefixed_folders(faces)
    for name, content in added.items():
        suffix = Path(name).suffix
        whole = cv2.imencode(suffix, faces.images[0])[1].tobytes() if suffix != ".txt" else b""
        tree[name] = whole if content is None else whole[:content] if isinstance(content, int) else content
    PACKINGS[packing](tmp_path / "copy", tree)
    with pytest.raises(kind) as error:
        layouts.read(tmp_path / "copy")
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert says == "expected all or none" or next(iter(added)) in str(error.value)
    assert capfd.readouterr() == ("", ""), "the libraries below are silent"


@pytest.mark.parametrize(
    ("side", "says"), [(5_000, "5,000 x 5,000 pixels"), (12_000, "12,000 x 12,000"), (60_000, "millions of pixels")]
)
def test_an_image_of_huge_declared_size_is_refused_before_it_is_decoded(side, says, faces, tmp_path, recwarn):
    content = bytearray(png(faces.images[0]))
    content[16:24] = side.to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    copies.as_folder(tmp_path, {"train/happy/1.png": bytes(content)})
    with pytest.raises(BadImage, match=says):
        layouts.read(tmp_path)
    assert not recwarn


def test_what_systems_leave_behind_is_passed_over(faces, tmp_path):
    tree = copies.prefixed_folders(faces)
    for name in (
        "train/happy/.DS_Store",
        "train/happy/Thumbs.db",
        "__MACOSX/train/happy/._1.png",
        "train/.x/happy/1.txt",
    ):
        tree[f"images/{name}"] = b"\x00"
    tree["README.md"] = b"# faces\n"
    copies.as_zip(tmp_path / "copy", tree)
    assert same(layouts.read(tmp_path / "copy"), ordered(faces))


def test_a_real_copy_as_folders_is_the_csv(real_csv, tmp_path):
    whole = layouts.read(real_csv)
    some = FaceDataset(whole.images[:300], whole.labels[:300], whole.usages[:300])
    PACKINGS["tar.gz"](tmp_path / "copy", copies.prefixed_folders(some))
    assert same(layouts.read(tmp_path / "copy"), some)
