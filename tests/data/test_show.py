"""`ferops data use` of a folder and an archive, and `ferops data show`: what a user sees of the data set."""

import shutil
from pathlib import Path

import copies
import cv2
import pytest
from support import ROOT, shell

from ferops import params
from ferops.labels import NAMES


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git and DVC repository with the parameters of this one."""
    folder = tmp_path / "repository"
    folder.mkdir()
    shutil.copy(ROOT / "params.yaml", folder)
    shell(folder, "git", "init", "-q")
    shell(folder, "dvc", "init", "-q")
    return folder


def _data(folder: Path) -> tuple[str, str, str]:
    data = params.load(folder / "params.yaml").data
    return data.source, data.dataset, data.split


def test_a_folder_of_images_is_taken_tracked_and_shown(repository, tmp_path):
    copies.as_folder(tmp_path / "fer images", copies.prefixed_folders(copies.made_up()))
    used = shell(repository, "ferops", "data", "use", f"{tmp_path / 'fer images'}/").stdout
    assert "recognised: image folders with PublicTest and PrivateTest told apart" in used
    assert _data(repository) == ("data/raw/fer images", "other", "official")
    assert (repository / "data/raw/fer images.dvc").is_file()
    assert "/fer images" in (repository / "data/raw/.gitignore").read_text()
    shown = shell(repository, "ferops", "data", "show").stdout
    assert "data set in use: data/raw/fer images" in shown
    rows = {line.split()[0]: line.split()[1::2] for line in shown.splitlines() if line.strip()}
    assert rows["happy"] == ["12", "4", "4"]
    assert rows["all"] == ["84", "28", "28"]
    sheet = cv2.imread(str(repository / "reports/data/contact_sheet.png"), cv2.IMREAD_GRAYSCALE)
    assert sheet.shape[0] > 7 * 96, "a row for each expression"
    assert shell(ROOT, "git", "check-ignore", "reports/data/contact_sheet.png").returncode == 0, "it shows faces"


def test_a_folder_that_replaces_another_leaves_nothing_of_it(repository, tmp_path):
    for number, count in enumerate((70, 140)):
        copies.as_folder(tmp_path / f"{number}/faces", copies.prefixed_folders(copies.made_up(count)))
        shell(repository, "ferops", "data", "use", str(tmp_path / f"{number}/faces"))
    assert len(list((repository / "data/raw/faces").rglob("*.png"))) == 140
    assert sorted(path.name for path in (repository / "data/raw").iterdir()) == [".gitignore", "faces", "faces.dvc"]


def test_merged_folders_set_the_split_that_fits_and_say_so(repository, tmp_path):
    copies.as_zip(tmp_path / "archive.zip", copies.merged_folders(copies.made_up()))
    used = shell(repository, "ferops", "data", "use", str(tmp_path / "archive.zip")).stdout
    assert "PublicTest and PrivateTest are not told apart" in used
    assert "data.split is folders" in used
    assert _data(repository) == ("data/raw/archive.zip", "other", "folders")
    rows = {line.split()[0]: line.split()[1:] for line in used.splitlines() if line.strip()}
    assert rows["all"] == ["84", "28,709", "56", "7,178"]


def test_a_csv_without_a_split_is_said_to_be_cut(repository, tmp_path):
    copies.as_folder(tmp_path / "kaggle", copies.train_and_test(copies.made_up()))
    used = shell(repository, "ferops", "data", "use", str(tmp_path / "kaggle")).stdout
    assert "recognised: CSV with emotion and pixels, no Usage" in used
    assert "left out: test.csv: it has no labels" in used
    assert "no split in it: cut by data.split_seed, stratified; official 80/10/10" in used
    assert _data(repository)[2] == "official"


def test_what_was_converted_is_told(repository, tmp_path):
    faces = copies.made_up()
    tree = copies.prefixed_folders(faces)
    first, second = list(tree)[:2]
    tree[first] = copies.png(faces.images[0].repeat(2, axis=0).repeat(2, axis=1))
    tree[second] = copies.png(cv2.cvtColor(faces.images[1], cv2.COLOR_GRAY2BGR))
    copies.as_folder(tmp_path / "faces", tree)
    used = shell(repository, "ferops", "data", "use", str(tmp_path / "faces")).stdout
    assert "1 images of another size were resized to 48 x 48" in used
    assert "1 images in colour or of another depth were made 8-bit gray" in used


def test_show_without_data_says_what_is_missing(repository):
    done = shell(repository, "ferops", "data", "show", check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "there is no file or folder data/sample/fer2013.csv" in done.stderr
    assert not (repository / "reports").exists()


def test_every_expression_has_its_row_in_the_table(repository, tmp_path):
    copies.as_folder(tmp_path / "faces", copies.kaggle(copies.made_up()))
    used = shell(repository, "ferops", "data", "use", str(tmp_path / "faces")).stdout
    words = [line.split()[0] for line in used.splitlines() if line.strip()]
    assert [word for word in words if word in NAMES] == list(NAMES)
