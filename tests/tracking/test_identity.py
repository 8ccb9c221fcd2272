"""The identity of a training."""

import copy
import subprocess

import pytest

from ferops.tracking.lineage import NotTrained, current_commit, data_digest, training_identity

DVC_LOCK = {
    "schema": "2.0",
    "stages": {
        "preprocess": {"outs": [{"path": "data/prepared", "md5": "ab.dir"}]},
        "train": {
            "cmd": "python -m ferops.stages.train",
            "deps": [{"path": "a", "md5": "1"}, {"path": "b", "md5": "2"}],
            "params": {"params.yaml": {"train.seed": 0}},
            "outs": [{"path": "models/core.keras", "md5": "3"}],
        },
    },
}


def test_the_order_of_files_and_other_stages_do_not_matter():
    other = copy.deepcopy(DVC_LOCK)
    other["stages"]["train"]["deps"].reverse()
    other["stages"]["publish"] = {"cmd": "publish"}

    assert training_identity(other) == training_identity(DVC_LOCK)
    assert len(training_identity(DVC_LOCK)) == 64


@pytest.mark.parametrize(
    "change",
    [
        lambda train: train.update(cmd="other"),
        lambda train: train["deps"][0].update(md5="9"),
        lambda train: train["params"]["params.yaml"].update({"train.seed": 1}),
        lambda train: train["outs"][0].update(md5="9"),
    ],
    ids=["command", "dep", "param", "out"],
)
def test_every_part_of_the_entry_matters(change):
    other = copy.deepcopy(DVC_LOCK)
    change(other["stages"]["train"])

    assert training_identity(other) != training_identity(DVC_LOCK)


def test_a_dvc_lock_without_train_is_not_trained():
    with pytest.raises(NotTrained, match="dvc repro"):
        training_identity({"stages": {"preprocess": {}}})


def test_the_digest_of_the_data_is_dvcs_md5():
    assert data_digest(DVC_LOCK) == "ab.dir"
    with pytest.raises(NotTrained, match="data/prepared"):
        data_digest({"stages": {"preprocess": {"outs": []}}})


def test_a_commit_is_dirty_by_its_sources_and_not_by_the_pipelines_outputs(tmp_path):
    def git(*args: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *args], cwd=tmp_path, check=True, capture_output=True
        )

    assert current_commit(tmp_path / "nowhere") is None
    git("init")
    assert current_commit(tmp_path) is None
    for name in ("params.yaml", "dvc.lock"):
        (tmp_path / name).write_text("a: 1\n")
    git("add", ".")
    git("commit", "-m", "first")

    (tmp_path / "dvc.lock").write_text("a: 2\n")
    assert current_commit(tmp_path).is_dirty is False
    (tmp_path / "params.yaml").write_text("a: 2\n")
    assert current_commit(tmp_path).is_dirty is True
    assert len(current_commit(tmp_path).sha) == 40
