"""`publish` with a real SQLite store: one run for one training, one version for one set of weights."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import MODEL
from tracking.conftest import flushed

from ferops import params
from ferops.promotion import gate
from ferops.tracking import store
from ferops.tracking.lineage import NotTrained
from ferops.tracking.live import LiveRun
from ferops.tracking.outputs import Epoch, MissingOutput
from ferops.tracking.record import REBUILT
from ferops.tracking.registry import versions
from ferops.tracking.store import ARTIFACTS

SERIES = ("loss", "accuracy", "binary_accuracy", "precision", "recall", "f1")


def publish() -> None:
    """The stage, in this process."""
    from ferops.stages.publish import main

    main()


def stage(root: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The stage, as DVC runs it."""
    return subprocess.run(
        [sys.executable, "-m", "ferops.stages", "publish"], cwd=root, env={**os.environ, **environment},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def runs() -> list[Any]:
    opened = store.connect()
    return list(opened.client.search_runs([opened.experiment_id]))


def all_versions() -> list[Any]:
    return list(store.connect().client.search_model_versions(f"name = '{MODEL}'"))


def challenger() -> int:
    return int(store.connect().client.get_model_version_by_alias(MODEL, "challenger").version)


def series(run: Any, name: str) -> list[tuple[int, int, float]]:
    """(step, timestamp in milliseconds, value) of every point of a metric."""
    points = store.connect().client.get_metric_history(run.info.run_id, name)
    return sorted((point.step, point.timestamp, point.value) for point in points)


def artifacts(run: Any, folder: str | None = None) -> set[str]:
    client = store.connect().client
    found = client.list_artifacts(run.info.run_id, folder)
    below = [artifacts(run, item.path) for item in found if item.is_dir]
    return {item.path for item in found if not item.is_dir}.union(*below)


def epochs(pipeline: Any, first: int = 1, last: int = 3) -> list[Epoch]:
    """Epochs of history.csv."""
    return [
        Epoch(row["epoch"], {name: row[name] for name in row if "/" in name}, row["time"])
        for row in pipeline.history[first - 1 : last]
    ]


def train_live(pipeline: Any, *, last: int = 3, finish: bool = True) -> None:
    """Log a training as the train stage does; without `finish` it is killed."""
    live = LiveRun(pipeline.training["scratch_key"], params.flatten(params.load()))
    for epoch in epochs(pipeline, last=last):
        live.log_epoch(*epoch)
    if finish:
        live.finish(pipeline.training["weights_digest"])
    else:
        assert flushed(live)


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.usefixtures("published")
def test_a_run_holds_params_epochs_figures_data_and_files():
    (run,) = runs()
    assert run.data.params["train.epochs"] == str(params.load().train.epochs)
    assert not any(key.startswith("evaluate.") for key in run.data.params)
    assert [step for step, _, _ in series(run, "val/accuracy")] == [1, 2, 3]
    assert run.data.metrics["acc_test"] == run.data.metrics["acc_val"] == 0.6
    assert not any("per_class" in name for name in run.data.metrics), "a table among the artifacts"
    assert run.data.tags["accuracy"] == "0.600 (0.500-0.700) test"
    own = {name for name in run.data.tags if not name.startswith(("mlflow.", "x-ferops."))}
    assert own == {"accuracy", "data", "hardware", "recipe", "split"}, "outside git there is no commit"
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("sample", "0123456789abcdef0123456789abcdef.dir")
    files = artifacts(run)
    assert {"figures/train/curves.png", "evaluation/predictions.parquet", "validation/prepared.json"} <= files
    assert {"lineage/dvc.yaml", "lineage/dvc.lock", "lineage/params.yaml", "evaluation/params.json"} <= files
    assert not any("contact_sheet" in name for name in files)
    assert "evaluation/mistakes.png" in files
    assert "synthetic sample" in run.data.tags["mlflow.note.content"]


def test_the_second_publish_changes_nothing_and_does_not_load_keras(published):
    (before,) = runs()
    files = artifacts(before)
    lock = published.root / "dvc.lock"  # DVC adds publish's own entry after it ran
    lock.write_text(lock.read_text() + "  publish:\n    cmd: publish\n")

    code = (
        "import sys; from ferops.stages.publish import main; main();"
        "assert not {'tensorflow', 'keras'} & set(sys.modules), 'loaded'"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=published.root, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "up to date" in done.stdout and done.stderr == ""
    (after,) = runs()
    assert after.info.end_time == before.info.end_time and after.data.tags == before.data.tags
    assert len(series(after, "acc_test")) == 1 and len(series(after, "val/loss")) == 3
    assert len(after.inputs.dataset_inputs) == 1 and artifacts(after) == files
    assert len(all_versions()) == len(published.registry()) == 1


def test_a_deleted_store_is_rebuilt_with_old_times_and_the_run_says_so(pipeline, monkeypatch):
    train_live(pipeline)
    publish()
    (pipeline.root / "mlflow.db").unlink()
    shutil.rmtree(pipeline.root / ARTIFACTS)

    done = stage(pipeline.root)

    assert done.returncode == 0, done.stderr
    assert "rebuilt" in done.stdout and done.stderr == ""
    # this process still holds the deleted file open under its old name
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{pipeline.root}/../clone/mlflow.db")
    (run,) = runs()
    (version,) = all_versions()
    assert "system metrics" in run.data.tags[REBUILT] and run.info.status == "FINISHED"
    assert run.info.start_time == round(1000 * pipeline.training["started"])
    assert run.info.end_time == round(1000 * pipeline.training["ended"])
    assert [point[:2] for point in series(run, "val/loss")] == [
        (row["epoch"], round(1000 * row["time"])) for row in pipeline.history
    ]
    assert run.data.metrics["acc_test"] == 0.6
    assert version.run_id == run.info.run_id and challenger() == 1
    assert len(pipeline.registry()) == 1


def test_a_run_logged_live_is_adopted_and_not_duplicated(pipeline):
    train_live(pipeline)

    publish()

    (run,) = runs()
    assert REBUILT not in run.data.tags
    assert len(series(run, "val/loss")) == 3
    assert run.info.end_time == round(1000 * pipeline.training["ended"])


def test_epochs_that_the_live_run_missed_are_added(pipeline):
    train_live(pipeline, last=1, finish=False)

    publish()

    (run,) = runs()
    assert [step for step, _, _ in series(run, "train/f1")] == [1, 2, 3]
    assert run.info.status == "FINISHED" and REBUILT not in run.data.tags


def test_the_live_run_of_another_attempt_is_not_adopted(pipeline):
    later = [epoch._replace(time=epoch.time + 5000) for epoch in epochs(pipeline)]
    live = LiveRun(pipeline.training["scratch_key"], params.flatten(params.load()))
    for epoch in later:
        live.log_epoch(*epoch)
    assert flushed(live)

    publish()

    assert sorted(REBUILT in run.data.tags for run in runs()) == [False, True]


def test_another_evaluation_updates_the_run_and_the_version(published, capsys):
    published.evaluate(accuracy=0.7)

    publish()

    (run,) = runs()
    (version,) = all_versions()
    assert run.data.metrics["acc_test"] == run.data.metrics["acc_val"] == 0.7
    assert len(series(run, "binary_test")) == 1  # it did not change
    assert "accuracy 0.700" in run.data.tags["mlflow.note.content"] and "accuracy 0.700" in version.description
    assert version.tags["accuracy"] == "0.700 (0.600-0.800) test"
    assert "evaluation updated" in capsys.readouterr().out


@pytest.mark.usefixtures("published")
def test_params_that_changed_after_training_are_not_logged_again():
    params.merge({"validate": {"max_kl_divergence": 9.5}})

    publish()

    (run,) = runs()
    assert run.data.params["validate.max_kl_divergence"] != "9.5"


def test_new_weights_are_version_2_and_the_challenger(published):
    published.train(seed=1)

    publish()

    assert len(runs()) == 2
    assert sorted(int(version.version) for version in all_versions()) == [1, 2]
    assert challenger() == 2
    assert [line["version"] for line in published.registry()] == [1, 2]
    assert published.registry()[1]["weights_digest"] == published.training["weights_digest"]


def test_weights_that_are_trained_again_are_not_set_as_challenger(published):
    published.train(seed=1)
    publish()
    published.train(seed=0)

    publish()

    assert len(runs()) == len(all_versions()) == challenger() == 2


def test_a_publish_interrupted_before_the_alias_is_completed_by_the_next(pipeline, monkeypatch):
    from mlflow import MlflowClient

    def dies(*_: Any) -> None:
        raise OSError("the server went away")

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "set_registered_model_alias", dies)
        with pytest.raises(store.TrackingFailed, match="went away"):
            publish()

    publish()

    assert len(runs()) == len(all_versions()) == challenger() == len(pipeline.registry()) == 1


def test_the_champion_of_a_moved_clone_gives_the_cores_probabilities(published, faces, monkeypatch):
    import keras
    import mlflow

    from ferops.data.preprocessing.filters import median

    gate.promote(store.connect(), "fer-vgg16/1", instead_of=None, decision={})
    core = keras.models.load_model(published.root / "models/core.keras", compile=False)
    moved = published.root.with_name("moved")
    shutil.move(published.root, moved)
    monkeypatch.chdir(moved)
    store.connect()

    loaded = mlflow.pyfunc.load_model(f"models:/{MODEL}@champion")

    expected = core.predict(median(faces, 3), verbose=0)
    np.testing.assert_allclose(loaded.predict(faces), expected, atol=1e-6)
    assert loaded.metadata.signature.inputs.inputs[0].shape == (-1, 48, 48)
    (run,) = runs()
    assert "figures/train/curves.png" in artifacts(run)


def test_any_mlflow_process_loads_the_model_from_the_database_file(published):
    uri = f"sqlite:///{published.root}/mlflow.db"
    code = (
        f"import mlflow; mlflow.set_tracking_uri({uri!r});"
        f"print(mlflow.artifacts.download_artifacts('models:/{MODEL}@challenger'))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=published.root.parent, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.split()[-1], "MLmodel").is_file()


def test_a_server_that_refuses_ends_publish_in_one_line(pipeline):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    done = stage(pipeline.root, MLFLOW_TRACKING_URI=f"http://someone:secret@127.0.0.1:{port}")

    assert done.returncode == 1
    assert done.stderr.startswith(f"publish: no MLflow at http://127.0.0.1:{port}: ")
    assert done.stderr.count("\n") == 1 and "secret" not in done.stderr


@pytest.mark.usefixtures("pipeline")
def test_where_a_server_never_answers_an_experiment_leaves_it_to_the_next_publish(silent_server, monkeypatch, capsys):
    monkeypatch.setitem(store._TIMEOUTS, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", silent_server)
    monkeypatch.setenv("DVC_EXP_NAME", "big-otter")

    publish()

    output = capsys.readouterr().out
    assert output.count("\n") == 1 and "big-otter is not in MLflow yet" in output


def test_a_file_that_is_no_database_is_named_at_once(pipeline):
    (pipeline.root / "mlflow.db").write_text("not a database, but long enough to be looked at")

    with pytest.raises(store.TrackingUnreachable, match=r"mlflow\.db: file is not a database"):
        publish()


def test_publish_before_training_says_so(pipeline):
    (pipeline.root / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")

    with pytest.raises(NotTrained, match="dvc repro"):
        publish()


def test_a_missing_output_is_named_before_the_store_is_opened(pipeline):
    (pipeline.root / "mlflow.db").unlink()
    (pipeline.root / "metrics/val.json").unlink()

    with pytest.raises(MissingOutput, match=r"metrics/val\.json"):
        publish()
    assert not (pipeline.root / "mlflow.db").exists()


def test_a_version_carries_its_exported_network_also_where_it_is_added_later(published, tmp_path):
    exported = published.root / "models/exported"
    exported.mkdir()
    (exported / "network.tflite").write_bytes(b"a network")
    (exported / "network.json").write_text("{}")
    publish()
    (exported / "network.json").write_text('{"uncertain_below": 0.7}')  # another evaluation
    publish()
    folder = versions.download(f"models:/{MODEL}@challenger", tmp_path)
    assert (folder / "exported/network.tflite").read_bytes() == b"a network"
    assert (folder / "exported/network.json").read_text() == '{"uncertain_below": 0.7}'
    assert (folder / "MLmodel").is_file()
