"""`ferops data use`: the pipeline points at the copy, or nothing has changed."""

import hashlib
import io
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import copies
import extras
import numpy as np
import pytest
from rich.console import Console

from ferops import params as parameters
from ferops.commands.data_sets import MissingClass, NotStored, tracked, use
from ferops.data.preprocessing.splits import MissingSplit
from ferops.data.readers.faces import BadFile, BadRow, FaceDataset, UnknownLayout
from ferops.errors import FeropsError
from ferops.labels import OFFICIAL_COUNTS, USAGES


@pytest.fixture
def repository(workplace, tmp_path, monkeypatch) -> Path:
    """A git and DVC repository with params.yaml and two recipes."""
    for name in ("GLOBAL_CONFIG", "SYSTEM_CONFIG", "SITE_CACHE"):
        monkeypatch.setenv(f"DVC_{name}_DIR", str(tmp_path / name.lower()))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    (workplace / "recipes").mkdir()
    (workplace / "recipes/paper.yaml").write_text("data:\n  split: random\n  dataset: sample\nmodel:\n  dropout: 0.5\n")
    (workplace / "recipes/broken.yaml").write_text("model:\n  dropout: 5\n")
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], check=True)
    subprocess.run([sys.executable, "-m", "dvc", "config", "core.autostage", "true"], check=True)
    return workplace


@pytest.fixture
def download(faces, write_csv, tmp_path) -> Path:
    """A good copy outside the repository."""
    return write_csv(tmp_path / "downloads/my fer2013 [1].csv", faces)


def _everything() -> dict[str, str]:
    """Every file of the repository and what git has staged; DVC's own cache and scratch left out."""
    files = (path for path in sorted(Path().rglob("*")) if path.is_file() and path.parts[0] != ".git")
    listing = {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.parts[:2] not in ((".dvc", "cache"), (".dvc", "tmp"))
    }
    folders = {str(path): "folder" for path in Path().glob("data/**/") if path.is_dir()}
    staged = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    return {**listing, **folders, "git status": staged}


def _use(path: Path, recipe: str | None = None) -> str:
    console = Console(file=io.StringIO(), width=120)
    use(path, recipe, console)
    return console.file.getvalue()


def _refused(kind: type[FeropsError], path: Path, recipe: str | None = None) -> str:
    before = _everything()
    with pytest.raises(kind) as error:
        _use(path, recipe)
    assert _everything() == before
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_good_copy_is_tracked_and_params_point_at_it_with_the_recipe(repository, download):
    shown = _use(download, "paper")
    assert "data.source is data/raw/my fer2013 [1].csv" in shown
    params = parameters.load()
    assert (params.data.source, params.data.dataset) == ("data/raw/my fer2013 [1].csv", "other")
    assert (params.data.split, params.model.dropout) == ("random", 0.5)
    assert Path("data/raw/my fer2013 [1].csv").read_bytes() == download.read_bytes()
    staged = subprocess.run(["git", "diff", "--cached", "--name-only"], capture_output=True, text=True).stdout
    assert "data/raw/my fer2013 [1].csv.dvc" in staged
    assert sorted(path.name for path in Path("data/raw").iterdir()) == [
        ".gitignore",
        "my fer2013 [1].csv",
        "my fer2013 [1].csv.dvc",
    ]
    assert "# what the source claims to be" in Path("params.yaml").read_text()
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.strip()}
    assert rows["surprise"] == ["12", "3,171", "4", "415", "4", "416"]
    assert rows["all"] == ["84", "28,709", "28", "3,589", "28", "3,589"]
    assert "21 of 21 counts differ" in shown
    assert "recognised: CSV with emotion, pixels and Usage" in shown
    assert shown.rstrip().endswith("Next: dvc repro")


def test_all_21_official_counts_are_fer2013_in_full(repository, tmp_path):
    rows = [
        f"{label},{' '.join(['7'] * 2304)},{usage}\n" * OFFICIAL_COUNTS[split][label]
        for usage, split in USAGES.items()
        for label in range(7)
    ]
    path = tmp_path / "fer2013.csv"
    path.write_text("".join(["emotion,pixels,Usage\n", *rows]))
    shown = _use(path)
    assert "This is FER2013 in full" in shown
    assert parameters.load().data.dataset == "fer2013"


def test_the_sample_is_used_where_it_lies(repository, faces, write_csv):
    _use(write_csv(repository / "elsewhere.csv", faces))
    write_csv(repository / "data/sample/fer2013.csv", faces)
    _use(Path("data/sample/fer2013.csv"))
    data = parameters.load().data
    assert (data.source, data.dataset) == ("data/sample/fer2013.csv", "sample")
    assert [path.name for path in Path("data/sample").iterdir()] == ["fer2013.csv"]
    assert not Path("data/raw/fer2013.csv").exists()


def test_a_copy_that_lies_in_data_raw_already_is_not_copied(repository, download):
    Path("data/raw/kaggle").mkdir(parents=True)
    shutil.copy(download, "data/raw/kaggle/fer2013.csv")
    _use(Path("data/raw/kaggle/fer2013.csv"))
    assert parameters.load().data.source == "data/raw/kaggle/fer2013.csv"
    assert Path("data/raw/kaggle/fer2013.csv.dvc").is_file()
    assert [path.name for path in Path("data/raw").iterdir()] == ["kaggle"]


def test_another_file_of_the_same_name_replaces_the_first(repository, download, faces, write_csv, tmp_path):
    _use(download)
    fewer = FaceDataset(faces.images[1:], faces.labels[1:], faces.usages[1:])
    other = write_csv(tmp_path / "more" / download.name, fewer)
    _use(other)
    assert Path("data/raw", download.name).read_bytes() == other.read_bytes()
    md5 = hashlib.md5(other.read_bytes(), usedforsecurity=False).hexdigest()
    assert md5 in Path("data/raw", f"{download.name}.dvc").read_text()
    assert len(list(Path("data/raw").iterdir())) == 3


def test_bad_data_change_nothing(repository, download, tmp_path):
    _use(download)
    rows = download.read_bytes().split(b"\n")
    bad = tmp_path / "bad" / download.name
    bad.parent.mkdir()
    bad.write_bytes(b"\n".join([*rows[:30], rows[30].replace(b"Training", b"Nothing"), *rows[31:]]))
    assert "row 31" in _refused(BadRow, bad)
    bad.write_bytes(b"\n".join([b"a,b,c", *rows[1:]]))
    _refused(UnknownLayout, bad)
    bad.write_bytes(b"")
    _refused(BadFile, bad)
    _refused(BadFile, tmp_path / "nowhere.csv")


def test_data_without_a_split_that_is_asked_for_change_nothing(repository, faces, write_csv, tmp_path):
    train = FaceDataset(faces.images[:84], faces.labels[:84], faces.usages[:84])
    path = write_csv(tmp_path / "train.csv", train)
    assert "data.split: random in params.yaml" in _refused(MissingSplit, path)
    parameters.merge({"data": {"split": "random"}})
    _use(path)
    assert parameters.load().data.split == "random"
    parameters.merge({"data": {"split": "official"}})
    _use(path, "paper")
    assert parameters.load().data.split == "random"


def test_images_without_a_split_are_cut_at_random_and_the_next_copy_has_its_own_split_again(
    repository, faces, download, tmp_path
):
    copies.as_folder(tmp_path / "faces", copies.BROUGHT["folders without a split"].tree(faces))
    shown = _use(tmp_path / "faces")
    assert "data.split is random" in shown
    assert "random 70/30" in shown
    shown = _use(download)
    assert "data.split is official, was random" in shown
    assert parameters.load().data.split == "official"


def test_what_was_said_of_a_copys_classes_is_kept_and_forgotten_with_the_next_copy(
    repository, faces, download, tmp_path
):
    brought = copies.BROUGHT["RAF-DB"]
    copies.as_folder(tmp_path / "raf", brought.tree(faces))
    console = Console(file=io.StringIO(), width=120)
    use(tmp_path / "raf", None, console, labels=brought.labels)
    data = parameters.load().data
    assert (data.labels, data.split) == (brought.labels, "folders")
    copies.as_folder(tmp_path / "eight", copies.BROUGHT["folders with contempt"].tree(faces))
    use(tmp_path / "eight", None, console, skip="contempt")
    data = parameters.load().data
    assert (data.labels, data.skip, data.split) == ("", "contempt", "random")
    _use(download)
    data = parameters.load().data
    assert (data.labels, data.skip) == ("", "")


def test_ck_plus_is_no_training_set_and_what_reads_it_is_named(repository, tmp_path):
    copies.as_folder(tmp_path, extras.ckplus())
    with pytest.raises(MissingClass, match=r"no image of neutral; .*`ferops data extra`"):
        use(tmp_path, None, Console(quiet=True), skip="contempt")


def test_an_unknown_or_broken_recipe_is_refused_before_the_data_are_read(repository, tmp_path):
    message = _refused(parameters.BadParams, tmp_path / "nowhere.csv", "best")
    assert "'best'" in message
    message = _refused(parameters.BadParams, tmp_path / "nowhere.csv", "broken")
    assert "model.dropout" in message
    assert message.startswith("params.yaml ")


def test_where_dvc_refuses_everything_is_as_it_was(repository, download):
    target = Path("data/raw", download.name)
    target.parent.mkdir(parents=True)
    target.write_text("tracked by git")
    subprocess.run(["git", "add", "."], check=True)
    assert "git" in _refused(NotStored, download).lower()


def test_outside_a_dvc_repository_everything_is_as_it_was(workplace, download):
    subprocess.run(["git", "init", "-q"], check=True)
    message = _refused(NotStored, download)
    assert "dvc add" in message
    assert not Path("data/raw").exists()


def test_in_a_source_archive_without_git_the_way_out_is_named(repository, download):
    shutil.move(".git", "../away")
    with pytest.raises(NotStored, match=r"not a git repository; .*`git init && git add --all && git commit"):
        _use(download)
    assert not Path("data/raw").exists()


@pytest.mark.parametrize("used_before", [False, True])
def test_interrupted_after_dvc_has_added_it_all_is_as_it_was_and_what_others_staged_meanwhile_stays_staged(
    used_before, repository, download
):
    if used_before:
        _use(download)
    before = _everything()
    target = Path("data/raw", download.name)
    others = ["notes.md", "data/raw/my fer2013 1.csv.dvc"]  # its name is what [1] of the target matches as a pattern
    with pytest.raises(KeyboardInterrupt), tracked(lambda path: path.write_text("other"), target, Console(quiet=True)):
        assert f'A  "{target}.dvc"' in _everything()["git status"]
        for other in others:
            Path(other).write_text("somebody else's")
        subprocess.run(["git", "add", *others], check=True)
        raise KeyboardInterrupt
    staged = subprocess.run(["git", "diff", "--cached", "--name-only"], capture_output=True, text=True).stdout
    assert set(others) <= set(staged.splitlines())
    subprocess.run(["git", "rm", "-q", "--force", *others], check=True)
    assert _everything() == before


def test_a_full_disk_leaves_everything_as_it_was(repository, download, faces, write_csv, tmp_path):
    _use(download)
    more = FaceDataset(*(np.concatenate([part, part]) for part in (faces.images, faces.labels, faces.usages)))
    path = write_csv(tmp_path / "more" / download.name, more)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = _everything()
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size - 1, hard))  # it can be read, but not copied
    try:
        with pytest.raises(NotStored, match="could not be written"):
            _use(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert _everything() == before


def test_the_small_copy_of_real_fer2013_is_not_taken_for_the_whole(repository, real_csv):
    shown = _use(real_csv)
    assert "This is not FER2013 in full" in shown
    assert parameters.load().data.dataset == "other"
    happy = next(line.split() for line in shown.splitlines() if line.split()[:1] == ["happy"])
    assert happy[2::2] == ["7,215", "895", "879"]
