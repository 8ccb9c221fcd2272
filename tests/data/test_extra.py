"""CK+ and JAFFE: recognised, counted, cut out, and tracked as test sets; or nothing has changed."""

import json
import shutil
from pathlib import Path

import copies
import cv2
import extras
import numpy as np
import pandas as pd
import pytest
from copies import PACKINGS, png
from support import ROOT, shell

from ferops.data import crops, prepared
from ferops.data.readers import extra_sets
from ferops.data.readers.classes import AS_NAMED, Classes
from ferops.data.readers.extra_sets import CKPLUS, JAFFE
from ferops.data.readers.faces import BadFile, BadImage, UnknownLayout
from ferops.data.synthetic import portraits
from ferops.labels import NAMES

DRAWN = portraits.render_face(0, np.random.default_rng(3))
PORTRAIT = extras.portrait(DRAWN)
FACE, FACELESS = png(DRAWN), extras.tiff(extras.faceless())
NO_CONTEMPT = Classes.parse("", "contempt")
CK, KA = "anger/S010_004_00000017.png", "KA.AN1.39.tiff"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git and DVC repository without extra sets."""
    folder = tmp_path / "repository"
    (folder / "data/extra").mkdir(parents=True)
    shutil.copy(ROOT / "data/extra/README.md", folder / "data/extra")
    shell(folder, "git", "init", "-q")
    shell(folder, "dvc", "init", "-q")
    shell(folder, "dvc", "config", "core.autostage", "true")
    return folder


def _folder(path: Path, tree: copies.Tree) -> Path:
    copies.as_folder(path, tree)
    return path


@pytest.mark.parametrize("packing", PACKINGS)
def test_ck_plus_in_every_packing_is_the_same_and_contempt_is_left_out(packing, tmp_path):
    tree = extras.ckplus()
    PACKINGS[packing](tmp_path / "download", dict(reversed(tree.items())))
    found = extra_sets.read(tmp_path / "download", NO_CONTEMPT)
    assert (found.kind, found.left_out, found.central) == (CKPLUS, ("3 images of contempt, to be skipped",), 0)
    assert found.counts == (3, 3, 3, 3, 3, 3, 0)
    folder_of = {content: name.split("/")[1] for name, content in tree.items()}
    folders = {"anger": "angry", "sadness": "sad"}
    for image, label in zip(found.images, found.labels, strict=True):
        folder = folder_of[png(image)]
        assert folders.get(folder, folder) == NAMES[label]
    assert np.array_equal(extra_sets.read(_folder(tmp_path / "folder", tree), NO_CONTEMPT).images, found.images)


@pytest.mark.parametrize("packing", PACKINGS)
def test_jaffe_in_every_packing_is_the_same_and_labelled_by_its_names(packing, tmp_path):
    tree = extras.jaffe()
    PACKINGS[packing](tmp_path / "download", dict(reversed(tree.items())))
    found = extra_sets.read(tmp_path / "download", AS_NAMED)
    other = extra_sets.read(_folder(tmp_path / "folder", tree), AS_NAMED)
    assert (found.kind, found.left_out) == (JAFFE, ())
    assert found.counts == (2, 2, 2, 2, 2, 2, 3)
    assert np.array_equal(found.images, other.images)
    assert np.array_equal(found.labels, other.labels)


def test_a_face_is_cut_where_the_cascade_finds_it(tmp_path):
    picture = cv2.imdecode(np.frombuffer(extras.jaffe()["jaffe/KA.HA1.30.tiff"], np.uint8), cv2.IMREAD_GRAYSCALE)
    box = crops.find(crops.detector(), picture)
    assert abs(box.left + box.side / 2 - 128) < 16, "the face is in the middle"
    assert abs(box.top + box.side / 2 - 136) < 16, "and a little below it"
    assert 110 < box.side < 180
    found = extra_sets.read(_folder(tmp_path / "one", {"KA.HA1.30.tiff": extras.tiff(picture)}), AS_NAMED)
    assert np.array_equal(found.images, [crops.cut(picture, box)])


def test_a_picture_without_a_face_is_cut_from_its_middle_and_counted(tmp_path):
    found = extra_sets.read(_folder(tmp_path / "one", {KA: FACELESS}), AS_NAMED)
    assert found.central == 1
    assert np.array_equal(found.images, [crops.cut(extras.faceless(), crops.Box(48, 48, 160))])
    assert found.images[0, 0, 0] == 49, "the first of 160 columns from the 48th, averaged by three and a third"


def test_a_crop_takes_only_what_is_in_its_box():
    picture = np.zeros((256, 200), np.uint8)
    picture[20:116, 30:126] = 200
    assert crops.cut(picture, crops.Box(30, 20, 96)).tolist() == np.full((48, 48), 200).tolist()
    assert crops.central(picture) == crops.Box(37, 65, 125)


def test_pictures_in_colour_of_16_bits_and_compressed_are_made_gray(tmp_path):
    gray = PORTRAIT
    forms = {
        "KA.AN1.1.tiff": extras.tiff(np.dstack([gray] * 3)),
        "KA.AN2.2.tif": extras.tiff(gray.astype(np.uint16) * 257),
        "ka.an3.3.TIFF": extras.tiff(gray, compression="tiff_lzw"),
    }
    found = extra_sets.read(_folder(tmp_path / "three", forms), AS_NAMED)
    assert found.counts[0] == 3
    assert (found.images == found.images[0]).all()


BAD = {
    "a copy of FER2013": ({"train/happy/Training_1.png": FACE}, UnknownLayout, "KA.AN1.39.tiff"),
    "a folder that CK+ does not have": ({f"neutral/{Path(CK).name}": FACE}, UnknownLayout, "folders anger, contempt"),
    "an expression that JAFFE does not have": ({"KA.XX1.39.tiff": FACELESS}, UnknownLayout, "AN, DI"),
    "an image that is of neither beside one that is": ({CK: FACE, "anger/me.png": FACE}, UnknownLayout, "me.png"),
    "both": ({CK: FACE, KA: FACELESS}, UnknownLayout, "CK+48 and JAFFE"),
    "no image": ({"README": b"hello", "faces.csv": b"emotion,pixels\n"}, UnknownLayout, "expected CK+48"),
    "contempt alone": ({f"contempt/{Path(CK).name}": FACE}, UnknownLayout, "seven expressions"),
    "an image twice": ({KA: extras.tiff(PORTRAIT), "KA.AN1.39.png": png(PORTRAIT)}, UnknownLayout, "a second time"),
    "faces of another size": ({CK: png(np.zeros((490, 640), np.uint8))}, UnknownLayout, "640 x 490 pixels"),
    "portraits of another size": ({KA: extras.tiff(np.zeros((48, 48), np.uint8))}, UnknownLayout, "expected 256 x 256"),
    "a file that is no image": ({CK: b"hello"}, BadImage, "no image that is read here; expected a whole JPEG or PNG"),
    "an empty file": ({KA: b""}, BadImage, "no image that is read here"),
    "a PNG cut short": ({CK: FACE[:700]}, BadImage, "damaged or cut short"),
    "a TIFF cut short": ({KA: FACELESS[:5000]}, BadImage, "damaged or cut short"),
    "a compressed TIFF that is damaged": (
        {KA: extras.tiff(PORTRAIT, compression="tiff_lzw")[:9000]}, BadImage, "damaged or cut short",
    ),
}  # fmt: skip


@pytest.mark.parametrize("packing", ["folder", "zip"])
@pytest.mark.parametrize("fault", BAD)
def test_a_bad_set_is_refused_in_one_line(fault, packing, tmp_path, capfd, recwarn):
    tree, kind, says = BAD[fault]
    PACKINGS[packing](tmp_path / "copy", tree)
    with pytest.raises(kind) as error:
        extra_sets.read(tmp_path / "copy", NO_CONTEMPT if fault == "contempt alone" else AS_NAMED)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", ""), "the libraries below are silent"
    assert not recwarn


def test_contempt_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(UnknownLayout, match=r"unknown expression 'contempt'.*--skip 'contempt' leaves it out"):
        extra_sets.read(_folder(tmp_path / "all", extras.ckplus()), AS_NAMED)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp"])
def test_a_set_that_was_stored_in_another_format_is_the_same_set(suffix, tmp_path):
    lossless = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else []
    picture = cv2.imencode(suffix, PORTRAIT, lossless)[1].tobytes()
    found = extra_sets.read(_folder(tmp_path / "one", {f"KA.HA1.30{suffix}": picture}), AS_NAMED)
    as_tiff = extra_sets.read(_folder(tmp_path / "tiff", {"KA.HA1.30.tiff": extras.tiff(PORTRAIT)}), AS_NAMED)
    assert (found.kind, found.counts) == (JAFFE, as_tiff.counts)
    assert np.array_equal(found.images, as_tiff.images)


def test_a_class_that_is_left_out_is_not_searched_for_faces_and_files_beside_the_images_are_passed_over(tmp_path):
    tree = extras.jaffe() | {"jaffe/KA.HA1.30.txt": b"a note"}
    found = extra_sets.read(_folder(tmp_path / "jaffe", tree), Classes.parse("", "neutral"))
    assert (found.counts[6], found.central) == (0, 0)
    assert found.left_out == ("3 images of neutral, to be skipped",)


def test_what_is_missing_or_no_archive_is_refused_in_one_line(tmp_path):
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04 and no more")
    for name in ("cut.zip", "nowhere"):
        with pytest.raises(BadFile):
            extra_sets.read(tmp_path / name, NO_CONTEMPT)


def test_the_counts_of_the_sets_are_those_that_were_published():
    assert (sum(CKPLUS.counts), sum(JAFFE.counts)) == (981 - 54, 213)
    assert dict(zip(NAMES, CKPLUS.counts, strict=True)) == {
        "angry": 135, "disgust": 177, "fear": 75, "happy": 207, "sad": 84, "surprise": 249, "neutral": 0,
    }  # fmt: skip


def test_a_set_is_told_saved_tracked_and_kept_out_of_git(repository, tmp_path):
    copies.as_zip(tmp_path / "archive.zip", extras.ckplus())
    copies.as_folder(tmp_path / "jaffe images", extras.jaffe())
    said = shell(repository, "ferops", "data", "extra", str(tmp_path / "archive.zip"), "--skip", "contempt").stdout
    assert "recognised: CK+48" in said
    assert "left out: 3 images of contempt, to be skipped" in said
    assert "6 of 7 counts differ: not CK+48 in full" in said
    rows = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.strip()}
    assert (rows["happy"], rows["neutral"], rows["all"]) == (["3", "207"], ["0", "0"], ["18", "927"])
    assert said.rstrip().endswith("Next: dvc repro")
    said = shell(repository, "ferops", "data", "extra", str(tmp_path / "jaffe images")).stdout
    assert "faces: 14 found in their picture, 1 not found and cut from its middle" in said

    saved = prepared.load(repository / "data/extra/ckplus")
    assert list(saved.manifest.columns) == ["id", "split", "label", "hash"]
    assert set(saved.manifest["split"]) == {"test"}
    assert saved.report == {
        "dataset": "ckplus",
        "counts": [3, 3, 3, 3, 3, 3, 0],
        "left_out": ["3 images of contempt, to be skipped"],
        "central_crops": 0,
    }
    assert json.loads((repository / "data/extra/jaffe/report.json").read_text())["central_crops"] == 1
    staged = shell(repository, "git", "diff", "--cached", "--name-only").stdout.split()
    assert sorted(staged)[-3:] == ["data/extra/.gitignore", "data/extra/ckplus.dvc", "data/extra/jaffe.dvc"]
    assert shell(repository, "git", "check-ignore", "data/extra/ckplus/images.npy").returncode == 0, "it shows faces"


def test_a_set_replaces_the_one_of_its_name(repository, tmp_path):
    for each in (3, 2):
        copies.as_zip(tmp_path / "archive.zip", extras.ckplus(each))
        shell(repository, "ferops", "data", "extra", str(tmp_path / "archive.zip"), "--skip", "contempt")
    assert len(pd.read_parquet(repository / "data/extra/ckplus/manifest.parquet")) == 12
    names = [".gitignore", "README.md", "ckplus", "ckplus.dvc"]
    assert sorted(path.name for path in (repository / "data/extra").iterdir()) == names


def test_bad_data_and_a_failing_dvc_change_nothing(repository, tmp_path):
    copies.as_folder(tmp_path / "bad", {CK: b"hello"})
    copies.as_folder(tmp_path / "good", extras.ckplus())
    before = shell(repository, "git", "status", "--porcelain").stdout
    refused = shell(repository, "ferops", "data", "extra", str(tmp_path / "bad"), check=False)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    shutil.move(repository / ".dvc", tmp_path / "away")
    refused = shell(repository, "ferops", "data", "extra", str(tmp_path / "good"), "--skip", "contempt", check=False)
    assert refused.returncode == 1
    assert "dvc add data/extra/ckplus" in refused.stderr
    shutil.move(tmp_path / "away", repository / ".dvc")
    assert shell(repository, "git", "status", "--porcelain").stdout == before
    assert [path.name for path in (repository / "data/extra").iterdir()] == ["README.md"]
