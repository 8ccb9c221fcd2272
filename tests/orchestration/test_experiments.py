import json
import shutil
from pathlib import Path

import pytest
from support import ROOT, shell

from ferops import params
from ferops.orchestration.sweeps import experiments

BASE = params.load(ROOT / "params.yaml")


def test_the_figures_of_a_trial_are_those_of_its_experiment_on_this_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shell(tmp_path, "git", "init", "-q")
    shell(tmp_path, "git", "commit", "-q", "--allow-empty", "-m", "start")
    sha = shell(tmp_path, "git", "rev-parse", "HEAD").stdout.strip()
    assert experiments.scores("fine-1") is None
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/val.json").write_text(json.dumps({"accuracy": 0.8}))
    shell(tmp_path, "git", "add", "-A")
    shell(tmp_path, "git", "commit", "-q", "-m", "trial")
    shell(tmp_path, "git", "update-ref", f"refs/exps/{sha[:2]}/{sha[2:]}/fine-1", "HEAD")
    assert experiments.scores("fine-1") is None, "another commit's"
    shell(tmp_path, "git", "reset", "-q", "--hard", sha)
    assert experiments.scores("fine-1") == {"accuracy": 0.8}


def test_the_record_of_a_training_is_read_from_the_cache_and_is_empty_where_that_has_lost_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shell(tmp_path, "git", "init", "-q")
    shell(tmp_path, "dvc", "init", "-q")
    shell(tmp_path, "git", "commit", "-q", "-m", "start")
    sha = shell(tmp_path, "git", "rev-parse", "HEAD").stdout.strip()
    (tmp_path / "models").mkdir()
    (tmp_path / "models/training.json").write_text('{"seconds": 5}')
    shell(tmp_path, "dvc", "add", "-q", "models/training.json")
    shell(tmp_path, "git", "add", "-A")
    shell(tmp_path, "git", "commit", "-q", "-m", "trial")
    shell(tmp_path, "git", "update-ref", f"refs/exps/{sha[:2]}/{sha[2:]}/table3-cnn-1", "HEAD")
    shell(tmp_path, "git", "reset", "-q", "--hard", sha)
    assert experiments.training("table3-cnn-1") == {"seconds": 5}
    shutil.rmtree(tmp_path / ".dvc/cache")
    assert experiments.training("table3-cnn-1") == {}


def test_trials_start_from_the_commit_and_not_from_what_was_changed_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shell(tmp_path, "git", "init", "-q")
    shell(tmp_path, "git", "add", "-A")
    shell(tmp_path, "git", "commit", "-q", "-m", "start")
    params.merge({"train": {"batch_size": 7}})
    found = experiments.base({"train": {"epochs": 3}, "promotion": {"floors": {"f1_macro": 0.1}}})
    assert (found.train.batch_size, found.train.epochs) == (BASE.train.batch_size, 3)
    assert found.promotion.floors == {**BASE.promotion.floors, "f1_macro": 0.1}
    with pytest.raises(params.BadParams, match=r"params.yaml with the changes asked for: train.epochs"):
        experiments.base({"train": {"epochs": -1}})
