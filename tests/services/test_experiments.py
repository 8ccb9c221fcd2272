"""DVC experiments, in the workspace, temporary or queued: each is one run, under its name, in the workspace's store."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from faults.repros import Repro, assert_in_store_once, eventually, finish, saved_epochs
from services.servers import Team
from support import shell

from ferops import params

pytestmark = pytest.mark.services

TRIAL = ("-S", "train.epochs=1", "-S", "evaluate.test=false")


@pytest.fixture
def workspace(committed: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the committed pipeline; its experiment queue is stopped at the end."""
    folder = tmp_path / "workspace"
    shutil.copytree(committed, folder, symlinks=True)
    yield folder
    shell(folder, "dvc", "queue", "stop", "--kill", check=False)


def runs(folder: Path) -> dict[str, Any]:
    """Return the runs by name; the test fails where a name occurs twice."""
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    found = client.search_runs([client.get_experiment_by_name("fer-vgg16").experiment_id])
    by_name = {run.info.run_name: run for run in found}
    assert len(by_name) == len(found), [run.info.run_name for run in found]
    return by_name


def test_temporary_and_queued_experiments_are_one_run_each_and_applying_one_adds_none(workspace: Path) -> None:
    (baseline,) = runs(workspace)
    shell(workspace, "dvc", "exp", "run", "--temp", "-n", "temporary", "-S", "train.seed=11", *TRIAL)
    assert runs(workspace).keys() == {baseline, "temporary"}

    shell(workspace, "dvc", "exp", "run", "--queue", "-n", "queued", "-S", "train.seed=12", *TRIAL)
    shell(workspace, "dvc", "exp", "run", "--queue", "-n", "finer", "-S", "evaluate.calibration_bins=30")
    shell(workspace, "dvc", "queue", "start")
    eventually(lambda: has_ended(workspace), 300, lambda: shell(workspace, "dvc", "queue", "status").stdout)
    found = runs(workspace)
    assert found.keys() == {baseline, "temporary", "queued", "finer"}
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert found["finer"].data.tags["mlflow.parentRunId"] == found[baseline].info.run_id, "it trained nothing"
    for name in (baseline, "temporary", "queued"):
        assert "mlflow.parentRunId" not in found[name].data.tags
    assert found["queued"].data.params["train.seed"] == "12"
    assert not list((workspace / ".dvc/tmp/exps").rglob("mlflow.db")), "no store of an experiment's own"

    client = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    (version,) = client.search_model_versions("name='fer-lean-cnn'")
    assert version.run_id == found[baseline].info.run_id, "DVC experiments are runs, and no versions"

    shell(workspace, "dvc", "exp", "apply", "queued")
    shell(workspace, "dvc", "repro")
    assert runs(workspace).keys() == found.keys()
    assert len(client.search_model_versions("name='fer-lean-cnn'")) == 2
    assert client.get_model_version_by_alias("fer-lean-cnn", "challenger").run_id == found["queued"].info.run_id


def has_ended(workspace: Path) -> bool:
    """Return whether every queued experiment has ended; the test fails where one has failed."""
    said = shell(workspace, "dvc", "queue", "status").stdout
    assert "Failed" not in said, shell(workspace, "dvc", "queue", "logs", "queued", check=False).stdout + said
    return said.count("Success") == 2


def test_a_training_that_is_killed_and_resumed_is_one_run_on_the_teams_server(workspace: Path, team: Team) -> None:
    params.merge({"train": {"seed": 13}}, workspace / "params.yaml")
    first = Repro(workspace, MLFLOW_TRACKING_URI=team.mlflow)
    first.wait_for_stage("train")
    eventually(lambda: saved_epochs(workspace), 120, first.said)
    first.kill("both")
    assert first.wait() != 0

    said = finish(workspace, MLFLOW_TRACKING_URI=team.mlflow)
    assert "going on after epoch" in said
    client = mlflow.MlflowClient(team.mlflow)
    assert len(client.search_runs([client.get_experiment_by_name("fer-vgg16").experiment_id])) == 1
    assert_in_store_once(workspace, team.mlflow)
