"""One run for one training: after experiments, in a second clone, and after a loss in the store."""

import json
import shutil
import subprocess
from typing import Any

import pytest
from support import MODEL

from ferops import params
from ferops.tracking import store
from ferops.tracking.live import LiveRun
from ferops.tracking.store import ARTIFACTS


def publish() -> None:
    """The stage, in this process."""
    from ferops.stages.publish import main

    main()


def runs(**tags: str) -> list[Any]:
    """Runs with these tags."""
    opened = store.connect()
    found = opened.client.search_runs([opened.experiment_id])
    return [run for run in found if all(run.data.tags.get(key) == value for key, value in tags.items())]


def trainings() -> list[Any]:
    return [run for run in runs() if "x-ferops.training" in run.data.tags]


def children(run: Any) -> list[Any]:
    return runs(**{"mlflow.parentRunId": run.info.run_id})


@pytest.fixture
def experiment(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Enter a DVC experiment by its name, or leave it with None."""

    def enter(name: str | None) -> None:
        if name is None:
            monkeypatch.delenv("DVC_EXP_NAME", raising=False)
        else:
            monkeypatch.setenv("DVC_EXP_NAME", name)

    return enter


def test_an_experiment_that_trains_is_one_run_with_its_name(published, experiment):
    experiment("low-rate")
    published.train(seed=1)
    live = LiveRun(published.training["scratch_key"], params.flatten(params.load()))
    live.finish(published.training["weights_digest"])

    publish()
    publish()

    assert len(trainings()) == len(runs()) == 2
    (run,) = runs(**{"x-ferops.experiments": "low-rate"})
    assert run.info.run_name == "low-rate"


def test_an_applied_experiment_keeps_its_run(pipeline, experiment):
    experiment("low-rate")
    publish()
    experiment(None)

    publish()

    (run,) = runs()
    assert run.info.run_name == "low-rate"


def test_an_experiment_that_changes_only_the_evaluation_is_a_child_run(published, experiment):
    (before,) = runs()
    experiment("fine-bins")
    params.merge({"evaluate": {"calibration_bins": 30}})
    published.evaluate(accuracy=0.7)

    publish()
    publish()

    (training,) = trainings()
    (child,) = children(training)
    assert len(runs()) == 2
    assert child.info.run_name == "fine-bins" and child.info.status == "FINISHED"
    assert child.data.metrics["acc_val"] == 0.7 and child.data.params["evaluate.calibration_bins"] == "30"
    assert training.data.metrics == before.data.metrics and training.data.tags == before.data.tags


def test_another_evaluation_in_the_workspace_updates_the_run(published, experiment):
    published.evaluate(accuracy=0.7)

    publish()

    (run,) = runs()
    assert run.data.metrics["acc_val"] == 0.7


def test_two_experiments_with_the_same_result_are_one_run_with_both_names(pipeline, experiment):
    for name in ("first", "second"):
        experiment(name)
        publish()

    (run,) = runs()
    assert run.data.tags["x-ferops.experiments"] == "first,second" and run.info.run_name == "first"


def test_a_second_clone_with_the_pulled_files_finds_the_run_in_the_same_store(published, monkeypatch):
    second = published.root.with_name("second")
    shutil.copytree(published.root, second, ignore=shutil.ignore_patterns("mlflow.db", ARTIFACTS))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{published.root}/mlflow.db")
    monkeypatch.chdir(second)

    publish()

    assert len(runs()) == 1
    assert len(store.connect().client.search_model_versions(f"name = '{MODEL}'")) == 1


def test_a_run_deleted_by_hand_is_restored(published):
    (run,) = runs()
    store.connect().client.delete_run(run.info.run_id)
    assert runs() == []

    publish()

    (back,) = runs()
    assert back.info.run_id == run.info.run_id


def test_a_file_that_the_run_lost_is_attached_again(published):
    (lost,) = (published.root / ARTIFACTS).rglob("predictions.parquet")
    content = lost.read_bytes()
    lost.unlink()

    publish()

    assert lost.read_bytes() == content
    assert len(runs()) == 1


def test_a_model_that_the_version_lost_is_logged_again(published, faces):
    import mlflow

    (lost,) = (published.root / ARTIFACTS).rglob("MLmodel")
    shutil.rmtree(lost.parent)

    publish()

    model = mlflow.pyfunc.load_model(f"models:/{MODEL}@challenger")
    assert model.predict(faces).shape == (5, 7)
    assert len(store.connect().client.search_model_versions(f"name = '{MODEL}'")) == 1


def test_a_network_that_is_not_in_keras_is_a_run_and_never_a_version(pipeline, capsys):
    path = pipeline.root / "models/training.json"
    path.write_text(json.dumps({**pipeline.training, "served": False}))

    publish()

    assert len(runs()) == 1
    assert store.connect().client.search_model_versions(f"name = '{MODEL}'") == []
    assert "model" not in capsys.readouterr().out


def test_uncommitted_changes_are_logged_with_the_run(pipeline):
    def git(*args: str) -> None:
        subprocess.run(["git", *args], cwd=pipeline.root, check=True, capture_output=True)

    (pipeline.root / ".gitignore").write_text("/mlflow.db*\n")
    git("init")
    git("add", "params.yaml", "dvc.yaml", "dvc.lock", ".gitignore")
    git("commit", "-m", "start")
    params.merge({"train": {"epochs": 9}})

    publish()

    (run,) = runs()
    assert run.data.tags["commit"].endswith(" + changes")
    client = store.connect().client
    patch = client.download_artifacts(run.info.run_id, "lineage/uncommitted.diff", str(pipeline.root.parent))
    git("checkout", "params.yaml")
    git("apply", patch)
    assert params.load().train.epochs == 9
