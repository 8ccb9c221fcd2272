"""A team: everything that is published on one machine is complete for everybody else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from faults.repros import assert_in_store_once
from services.servers import Team
from support import shell

from ferops import labels, params
from ferops.data.readers import layouts
from ferops.model.calibration import calibrate
from ferops.tracking.registry import ledger

pytestmark = pytest.mark.services


@pytest.fixture
def mine(committed: Path, tmp_path: Path) -> Path:
    """A clone that has run, with its dvc.lock in git, and that has published nothing yet."""
    folder = tmp_path / "mine"
    shutil.copytree(committed, folder, symlinks=True)
    (folder / "mlflow.db").unlink()
    shutil.rmtree(folder / "mlartifacts")
    return folder


LENIENT = {
    "floors": {"accuracy": 0.0, "f1_macro": 0.0}, "min_class_recall": 0.0, "max_calibration_error": 1.0,
    "tolerance": 1.0,
}  # fmt: skip
"""Rules that a network trained for two epochs passes."""


def publish(folder: Path, team: Team) -> str:
    """Run `dvc repro` where only `publish` is left to run; return its output."""
    output = shell(folder, "dvc", "repro", MLFLOW_TRACKING_URI=team.mlflow).stdout
    assert [line for line in output.splitlines() if line.startswith("Running stage")] == ["Running stage 'publish':"]
    return output


def runs(team: Team) -> list[Any]:
    client = mlflow.MlflowClient(team.mlflow)
    return list(client.search_runs([client.get_experiment_by_name("fer-vgg16").experiment_id]))


def aliases(team: Team) -> dict[str, int]:
    model = mlflow.MlflowClient(team.mlflow).get_registered_model("fer-lean-cnn")
    return {name: int(number) for name, number in model.aliases.items()}


def test_a_publish_is_one_run_one_version_and_their_files_in_the_bucket(mine: Path, team: Team) -> None:
    publish(mine, team)
    assert_in_store_once(mine, team.mlflow)
    (run,) = runs(team)
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/"), "clients go through the server, not to the bucket"
    (version,) = mlflow.MlflowClient(team.mlflow).search_model_versions("name='fer-lean-cnn'")
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
    np.save(faces, layouts.read(mine / "data/sample/fer2013.csv").images[table["id"]])
    script = (
        "import mlflow, numpy; model = mlflow.pyfunc.load_model('models:/fer-lean-cnn@challenger');"
        "numpy.save('seen.npy', model.predict(numpy.load('faces.npy')))"
    )
    shell(tmp_path, "python", "-c", script, MLFLOW_TRACKING_URI=team.mlflow)
    temperature = json.loads((mine / "metrics/calibration.json").read_text())["temperature"]
    calibrated = calibrate(table[list(labels.NAMES)].to_numpy(), temperature)
    np.testing.assert_allclose(np.load(tmp_path / "seen.npy"), calibrated, atol=1e-4)


def share(mine: Path, team: Team) -> None:
    """Push data and models to the team's bucket, and commit its address without the keys."""
    shell(mine, "dvc", "remote", "add", "--default", "team", "s3://ferops/dvc")
    shell(mine, "dvc", "remote", "modify", "team", "endpointurl", team.s3)
    unlock(mine)
    shell(mine, "dvc", "push")
    shell(mine, "git", "add", "-A")
    shell(mine, "git", "commit", "-q", "-m", "shared with the team")
    assert shell(mine, "git", "grep", "a secret", "HEAD", "--", ".dvc", check=False).returncode == 1


def unlock(clone: Path) -> None:
    """Configure the keys of the bucket in this clone, outside git."""
    for name, value in (("access_key_id", "team"), ("secret_access_key", "a secret")):
        shell(clone, "dvc", "remote", "modify", "--local", "team", name, value)


@pytest.fixture
def theirs(tmp_path: Path) -> Callable[[Path], Path]:
    """Makes a colleague's clone: the files in git, and an empty DVC cache."""

    def clone(mine: Path) -> Path:
        shell(tmp_path, "git", "clone", "-q", str(mine), "theirs")
        return tmp_path / "theirs"

    return clone


def test_a_second_clone_pulls_from_s3_trains_nothing_and_doubles_nothing(
    mine: Path, theirs: Callable[[Path], Path], team: Team
) -> None:
    publish(mine, team)
    share(mine, team)
    assert team.keys("dvc")

    clone = theirs(mine)
    unlock(clone)
    shell(clone, "dvc", "pull")
    publish(clone, team)
    assert len(runs(team)) == 1
    assert_in_store_once(clone, team.mlflow)
    assert shell(clone, "git", "status", "--porcelain").stdout == "", "their clone is unchanged"


def test_one_promotes_and_a_colleague_rolls_back(mine: Path, theirs: Callable[[Path], Path], team: Team) -> None:
    uri = {"MLFLOW_TRACKING_URI": team.mlflow}
    publish(mine, team)
    params.merge({"promotion": LENIENT}, mine / "params.yaml")
    shell(mine, "ferops", "promote", **uri)
    assert aliases(team) == {"challenger": 1, "champion": 1}

    params.merge({"train": {"seed": 5, "epochs": 1}}, mine / "params.yaml")
    shell(mine, "dvc", "repro", **uri)
    shell(mine, "ferops", "promote", **uri)
    assert aliases(team) == {"challenger": 2, "champion": 2, "previous": 1}
    shell(mine, "git", "commit", "-q", "-a", "-m", "another network, promoted")

    clone = theirs(mine)
    shell(clone, "ferops", "rollback", **uri)
    assert aliases(team) == {"challenger": 2, "champion": 1, "previous": 2}
    events = [(event["event"], event["version"]) for event in ledger.lines(clone / ledger.REGISTRY)]
    assert events == [("registered", 1), ("promoted", 1), ("registered", 2), ("promoted", 2), ("rolled back", 1)]
    shell(clone, "git", "commit", "-q", "-a", "-m", "rolled back")
    shell(mine, "git", "pull", "-q", "--ff-only", str(clone), "main")
    assert ledger.lines(mine / ledger.REGISTRY) == ledger.lines(clone / ledger.REGISTRY)


def test_a_colleague_traces_a_version_to_its_commit(mine: Path, theirs: Callable[[Path], Path], team: Team) -> None:
    publish(mine, team)
    clone = theirs(mine)
    told = json.loads(
        shell(clone, "ferops", "trace", "fer-lean-cnn@challenger", "--json", MLFLOW_TRACKING_URI=team.mlflow).stdout
    )
    assert told["source"]["commit"] == shell(mine, "git", "rev-parse", "HEAD").stdout.strip()
    assert told["weights_digest"] == json.loads((mine / "models/training.json").read_text())["weights_digest"]
    assert [event["event"] for event in told["events"]] == ["registered"]


def test_a_server_that_lost_everything_is_restored_from_git_and_s3(
    mine: Path, theirs: Callable[[Path], Path], team: Team
) -> None:
    uri = {"MLFLOW_TRACKING_URI": team.mlflow}
    publish(mine, team)
    params.merge({"promotion": LENIENT}, mine / "params.yaml")
    shell(mine, "ferops", "promote", **uri)
    share(mine, team)
    (before,) = runs(team)
    team.lose()

    clone = theirs(mine)
    unlock(clone)
    said = shell(clone, "ferops", "restore", **uri).stdout
    (after,) = runs(team)
    assert after.data.params == before.data.params
    assert after.data.metrics == before.data.metrics
    assert aliases(team) == {"challenger": 1, "champion": 1}, said
    shell(mine, "dvc", "repro", **uri)
    assert_in_store_once(mine, team.mlflow)
    assert shell(clone, "git", "status", "--porcelain").stdout == "", "git had all of it"
