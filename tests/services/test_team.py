"""One team: what is published on one machine is there, whole, for everybody else."""

import shutil
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from faults.repros import assert_in_store_once
from services.servers import Team
from support import shell

from ferops import labels
from ferops.data import readers

pytestmark = pytest.mark.services


@pytest.fixture
def mine(committed: Path, tmp_path: Path) -> Path:
    """A clone that has run, with its lock in git, and that has published nothing yet."""
    folder = tmp_path / "mine"
    shutil.copytree(committed, folder, symlinks=True)
    (folder / "mlflow.db").unlink()
    shutil.rmtree(folder / "mlartifacts")
    return folder


def publish(folder: Path, team: Team) -> str:
    """What `dvc repro` says, where only `publish` is left to run."""
    said = shell(folder, "dvc", "repro", MLFLOW_TRACKING_URI=team.mlflow).stdout
    assert [line for line in said.splitlines() if line.startswith("Running stage")] == ["Running stage 'publish':"]
    return said


def runs(team: Team) -> list[Any]:
    client = mlflow.MlflowClient(team.mlflow)
    return list(client.search_runs([client.get_experiment_by_name("fer-vgg16").experiment_id]))


def test_a_publish_is_one_run_one_version_and_their_files_in_the_bucket(mine: Path, team: Team) -> None:
    publish(mine, team)
    assert_in_store_once(mine, team.mlflow)
    (run,) = runs(team)
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/"), "the server stands before the bucket"
    (version,) = mlflow.MlflowClient(team.mlflow).search_model_versions("name='fer-vgg16'")
    inside = [name.partition("/")[2] for name in team.keys("mlflow")]
    assert f"{run.info.run_id}/artifacts/evaluation/predictions.parquet" in inside
    assert f"models/{version.source.removeprefix('models:/')}/artifacts/data/model.keras" in inside
    assert not (mine / "mlflow.db").exists() and not (mine / "mlartifacts").exists(), "nothing stays on this machine"


def test_a_colleague_who_knows_the_servers_address_alone_gets_the_same_predictions(
    mine: Path, team: Team, tmp_path: Path
) -> None:
    publish(mine, team)
    faces = tmp_path / "faces.npy"
    table = pd.read_parquet(mine / "predictions.parquet")
    np.save(faces, readers.read(mine / "data/sample/fer2013.csv").images[table["id"]])
    script = (
        "import mlflow, numpy; model = mlflow.pyfunc.load_model('models:/fer-vgg16@challenger');"
        "numpy.save('seen.npy', model.predict(numpy.load('faces.npy')))"
    )
    shell(tmp_path, "python", "-c", script, MLFLOW_TRACKING_URI=team.mlflow)
    np.testing.assert_allclose(np.load(tmp_path / "seen.npy"), table[list(labels.NAMES)], atol=1e-4)


def test_a_second_clone_pulls_from_s3_trains_nothing_and_doubles_nothing(
    mine: Path, team: Team, tmp_path: Path
) -> None:
    publish(mine, team)
    keys = ("access_key_id", "team"), ("secret_access_key", "a secret")
    shell(mine, "dvc", "remote", "add", "--default", "team", "s3://data/dvc")
    shell(mine, "dvc", "remote", "modify", "team", "endpointurl", team.s3)
    for name, value in keys:
        shell(mine, "dvc", "remote", "modify", "--local", "team", name, value)
    shell(mine, "dvc", "push")
    assert team.keys("data")
    shell(mine, "git", "add", "-A")
    shell(mine, "git", "commit", "-q", "-m", "published, with a remote")
    assert "a secret" not in shell(mine, "git", "grep", "-e", "secret", "HEAD", "--", ".dvc", check=False).stdout

    theirs = tmp_path / "theirs"
    shell(tmp_path, "git", "clone", "-q", str(mine), str(theirs))
    for name, value in keys:
        shell(theirs, "dvc", "remote", "modify", "--local", "team", name, value)
    shell(theirs, "dvc", "pull")
    publish(theirs, team)
    assert len(runs(team)) == 1
    assert_in_store_once(theirs, team.mlflow)
    assert shell(theirs, "git", "status", "--porcelain").stdout == "", "their clone is as it was"
