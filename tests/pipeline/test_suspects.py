"""`ferops data suspects` in the pipeline."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import Ferops, refused, shell

from ferops import params
from ferops.data import prepared
from ferops.data.preprocessing import splits
from ferops.labels import NAMES

LISTED = Path("reports/suspects.csv")


@pytest.fixture
def folder(committed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = Path(shutil.copytree(committed, tmp_path / "pipeline", symlinks=True))
    monkeypatch.chdir(folder)
    return folder


def test_the_doubted_labels_are_listed_and_their_faces_stay_out_of_git(folder: Path) -> None:
    done = shell(folder, "ferops", "data", "suspects", "--folds", "2")
    listed = pd.read_csv(LISTED, dtype={"hash": str})
    assert list(listed.columns) == ["id", "hash", "label", "probability", "suggested"]
    manifest = prepared.load(Path("data/prepared")).manifest.set_index("id")
    training = manifest[manifest["split"] == "train"]
    assert 0 < len(listed) < len(training)
    assert f"{len(listed):,} of {len(training):,} training labels" in done.stdout
    of = training.loc[listed["id"]]
    assert listed["hash"].tolist() == of["hash"].tolist()
    assert listed["label"].tolist() == np.take(NAMES, of["label"]).tolist()
    assert (listed["suggested"] != listed["label"]).all()
    assert Path("reports/data/suspects.png").stat().st_size > 1000
    status = shell(folder, "git", "status", "--porcelain", "--untracked-files=all").stdout
    assert "reports/suspects.csv" in status
    assert "suspects.png" not in status
    assert not list(Path(".scratch").glob("suspects/*")), "the checkpoints are gone"

    decided = listed.assign(label=listed["suggested"]).head(3)
    decided.to_csv("data/overrides.csv", index=False)
    shell(folder, "dvc", "repro", "--single-item", "preprocess")
    after = prepared.load(Path("data/prepared")).manifest.set_index("id")["label"]
    assert np.take(NAMES, after[decided["id"]]).tolist() == decided["label"].tolist()
    assert (after != manifest["label"]).sum() == 3


def test_no_network_depends_on_the_images_that_it_judges(folder: Path) -> None:
    """With other pixels and labels in one fold, the answers to that fold's other images stay as they are."""
    data = prepared.load(Path("data/prepared"))
    rows = data.rows("train")
    manifest = data.manifest[rows]
    groups = manifest["duplicate_of"].fillna(-1).to_numpy(np.int64)
    fold = splits.folds(manifest["label"].to_numpy(np.int64), groups, 2, params.load().train.seed)
    first = np.flatnonzero(fold == 0)
    code = f"""
import numpy as np
from pathlib import Path
from rich.console import Console
from ferops import params
from ferops.commands.suspects import held_out
from ferops.data import prepared
data, fold = prepared.load(Path("data/prepared")), np.array({fold.tolist()})
answers = [held_out(params.load(), data, fold, Console())]
images = np.array(data.images)
images[{rows.start} + np.array({first[::2].tolist()})] = 0
answers += [held_out(params.load(), prepared.Prepared(images, data.manifest, data.report), fold, Console())]
np.save("answers.npy", answers)
"""
    shell(folder, "python", "-c", code)
    before, after = np.load("answers.npy")
    np.testing.assert_array_equal(before[first[1::2]], after[first[1::2]])
    assert (before[fold == 1] != after[fold == 1]).any(), "the other network saw the change"


def test_a_killed_command_goes_on_after_the_last_epoch(folder: Path) -> None:
    with subprocess.Popen(
        ["ferops", "data", "suspects", "--folds", "2"], cwd=folder, stdout=subprocess.PIPE, text=True
    ) as killed:
        said = iter(killed.stdout.readline, "")
        assert any(line.startswith("network 2 of 2") for line in said)
        killed.kill()
    assert not LISTED.exists()
    done = shell(folder, "ferops", "data", "suspects", "--folds", "2")
    assert done.stdout.index("going on after epoch") < done.stdout.index("network 2 of 2")
    assert LISTED.exists()


def test_what_cannot_be_judged_is_one_line(folder: Path, ferops: Ferops) -> None:
    params.merge({"data": {"overrides": str(LISTED)}}, folder / "params.yaml")
    assert "suspects.csv is data.overrides and would be replaced" in refused(ferops, "data", "suspects")
    params.merge({"data": {"overrides": "data/overrides.csv"}}, folder / "params.yaml")
    params.merge({"preprocess": {"median_kernel": 5}}, folder / "params.yaml")
    stale = ferops("data", "suspects")
    assert (stale.code, len(stale.err.splitlines()), LISTED.exists()) == (1, 1, False)
    assert "data/prepared is not of the data and parameters that are here; `dvc repro preprocess`" in stale.err
    data = prepared.load(Path("data/prepared"))
    few = np.r_[0:3, data.rows("validation")]
    prepared.save(Path("data/prepared"), np.array(data.images[few]), data.manifest.iloc[few], data.report)
    assert "3 training images; expected one or more for each fold" in refused(ferops, "data", "suspects")
    params.merge({"model": {"weights": "models/core.keras"}, "train": {"epochs": 0}}, folder / "params.yaml")
    assert "train.epochs is 0" in refused(ferops, "data", "suspects")


def test_a_sheet_that_cannot_be_written_costs_no_training_again(folder: Path) -> None:
    in_the_way = Path("reports/data")
    in_the_way.touch()
    failed = shell(folder, "ferops", "data", "suspects", "--folds", "2", check=False)
    assert failed.returncode == 1
    assert len(failed.stderr.splitlines()) == 1
    in_the_way.unlink()
    said = shell(folder, "ferops", "data", "suspects", "--folds", "2")
    assert said.stdout.count("going on after epoch 2 of 2") == 2
    assert said.stderr == ""
