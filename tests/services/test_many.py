"""Many at once: ten processes that publish in the same moment, to the team's server and to a database file."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import mlflow
import pytest
from services.servers import Team
from tracking.conftest import Pipeline

pytestmark = pytest.mark.services

MANY = 10
DIGEST = "ferops.weights_digest"
AT_ONCE = """
import runpy, sys
from ferops.stages.quiet import quiet_imports
with quiet_imports():
    import keras, mlflow  # what takes seconds comes first
print("ready", flush=True)
sys.stdin.readline()
sys.argv = ["ferops.stages", "publish"]
runpy.run_module("ferops.stages", run_name="__main__")
"""
"""The stage, from the moment on that all of them are loaded."""


@pytest.fixture(params=["server", "database file"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store, and one that no process has made yet."""
    if request.param == "server":
        team: Team = request.getfixturevalue("team")
        return team.mlflow
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def publish_at_once(folders: list[Path], uri: str) -> None:
    """Every one of them ends well."""
    with ExitStack() as running:
        publishers = [
            running.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", AT_ONCE], cwd=folder, text=True,
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    env={**os.environ, "MLFLOW_TRACKING_URI": uri},
                )
            )
            for folder in folders
        ]  # fmt: skip
        for publisher in publishers:
            running.callback(publisher.kill)
        loaded = [publisher.stdout.readline() for publisher in publishers]
        assert set(loaded) == {"ready\n"}
        for publisher in publishers:
            publisher.stdin.write("go\n")
            publisher.stdin.flush()
        said = ["".join(publisher.communicate(timeout=300)) for publisher in publishers]
        failed = [text for publisher, text in zip(publishers, said, strict=True) if publisher.returncode]
        assert not failed, "\n".join(failed)


def store(uri: str) -> tuple[list[Any], list[Any], list[Any]]:
    """Runs, versions and logged models."""
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("fer-vgg16").experiment_id
    return (
        list(client.search_runs([experiment])),
        list(client.search_model_versions("name='fer-vgg16'")),
        list(client.search_logged_models([experiment])),
    )


def pipelines(place: Path, seeds: range | list[int]) -> list[Pipeline]:
    """Clones that have run up to `publish`, each with the weights of its seed."""
    made = []
    for number, seed in enumerate(seeds):
        folder = place / f"clone-{number}"
        folder.mkdir()
        pipeline = Pipeline(folder)
        pipeline.train(seed)
        made.append(pipeline)
    return made


def test_ten_trainings_published_at_once_are_ten_runs_and_ten_versions(uri: str, tmp_path: Path) -> None:
    clones = pipelines(tmp_path, range(MANY))
    publish_at_once([clone.root for clone in clones], uri)

    runs, versions, models = store(uri)
    digests = sorted(clone.training["weights_digest"] for clone in clones)
    assert sorted(run.data.tags[DIGEST] for run in runs) == digests
    assert sorted(model.tags[DIGEST] for model in models) == digests
    assert sorted(version.tags[DIGEST] for version in versions) == digests
    assert sorted(int(version.version) for version in versions) == list(range(1, MANY + 1))
    assert {run.info.status for run in runs} == {"FINISHED"}
    number_of = {version.tags[DIGEST]: int(version.version) for version in versions}
    for clone in clones:
        told = {line["weights_digest"]: line["version"] for line in clone.registry() if line["event"] == "registered"}
        assert clone.training["weights_digest"] in told
        assert told.items() <= number_of.items(), "the file in git says what the registry says"
    challenger = mlflow.MlflowClient(uri).get_model_version_by_alias("fer-vgg16", "challenger")
    assert challenger.tags[DIGEST] in digests


def test_one_training_published_ten_times_at_once_is_one_run_and_one_version(uri: str, tmp_path: Path) -> None:
    clones = pipelines(tmp_path, [1] * MANY)
    publish_at_once([clone.root for clone in clones], uri)

    (run,), (version,), (model,) = store(uri)
    assert (version.run_id, model.source_run_id, model.status) == (run.info.run_id, run.info.run_id, "READY")
    assert run.info.status == "FINISHED"
    for clone in clones:
        (line,) = clone.registry()
        assert (line["event"], line["version"], line["alias"]) == ("registered", int(version.version), "challenger")
