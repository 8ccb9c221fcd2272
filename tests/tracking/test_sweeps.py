from pathlib import Path
from typing import Any

import pytest
from tracking.conftest import Pipeline, flushed

from ferops import params
from ferops.tracking import record, store
from ferops.tracking import runs as tracked_runs
from ferops.tracking.live import LiveRun

SETTINGS = {"method": "grid", "trials": 2, "train.learning_rate": [0.0001, 0.0003]}


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set the environment in which the stages of a sweep's trial run."""

    def enter(name: str | None, run_id: str | None) -> None:
        for variable, value in (("DVC_EXP_NAME", name), (record.SWEEP_RUN, run_id)):
            if value is None:
                monkeypatch.delenv(variable, raising=False)
            else:
                monkeypatch.setenv(variable, value)

    return enter


def publish() -> None:
    """The stage, in this process."""
    from ferops.stages.publish import main

    main()


def run_of(run_id: str) -> Any:
    return store.connect().client.get_run(run_id)


def runs() -> list[Any]:
    opened = store.connect()
    return list(opened.client.search_runs([opened.experiment_id]))


def children(run_id: str) -> list[Any]:
    return [run for run in runs() if run.data.tags.get("mlflow.parentRunId") == run_id]


def test_the_same_sweep_reopens_its_run_and_another_gets_its_own(pipeline: Pipeline) -> None:
    first = tracked_runs.begin_sweep("fine", "key-1", SETTINGS, "flows/sweep.py")
    assert tracked_runs.begin_sweep("fine", "key-1", SETTINGS, "flows/sweep.py") == first
    assert tracked_runs.begin_sweep("fine", "key-2", SETTINGS, "flows/sweep.py").run_id != first.run_id
    run = run_of(first.run_id)
    assert run.info.run_name == "fine"
    assert run.info.status == "RUNNING"
    assert run.data.params["train.learning_rate"] == "[0.0001, 0.0003]"
    assert first.run_id in first.page


def test_a_sweep_ends_with_its_files_and_best_accuracy_and_a_second_end_replaces_them(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    sweep = tracked_runs.begin_sweep("fine", "key-1", SETTINGS, "flows/sweep.py")
    table = tmp_path / "sweep.csv"
    table.write_text("old")
    tracked_runs.end_sweep(sweep.run_id, [table], "none", None, 2)
    assert run_of(sweep.run_id).info.status == "FAILED"

    tracked_runs.begin_sweep("fine", "key-1", SETTINGS, "flows/sweep.py")
    table.write_text("new")
    tracked_runs.end_sweep(sweep.run_id, [table], "| best |", 0.7, 1)
    run = run_of(sweep.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"best_acc_val": 0.7, "failed": 1.0}
    assert run.data.tags["mlflow.note.content"] == "| best |"
    assert Path(store.connect().client.download_artifacts(sweep.run_id, "sweep.csv")).read_text() == "new"


def test_a_training_in_a_trial_is_a_child_of_the_sweep_from_its_first_epoch(pipeline: Pipeline, trial: Any) -> None:
    sweep = tracked_runs.begin_sweep("fine", "key-1", SETTINGS, "flows/sweep.py")
    trial("fine-1", sweep.run_id)
    live = LiveRun("a key", params.flatten(params.load()))
    live.log_epoch(1, {"val/loss": 1.0}, 1.0)
    assert flushed(live)
    assert [run.info.run_name for run in children(sweep.run_id)] == ["fine-1"]
    live.finish("digest")


def test_a_trial_whose_network_was_trained_already_is_a_child_of_the_sweep_with_all_parameters(
    published: Pipeline, trial: Any
) -> None:
    sweep = tracked_runs.begin_sweep("fine", "key-1", SETTINGS, "flows/sweep.py")
    trial("fine-1", sweep.run_id)
    published.evaluate(accuracy=0.4)
    publish()
    publish()
    (child,) = children(sweep.run_id)
    assert child.info.run_name == "fine-1"
    assert child.data.params["train.learning_rate"] == str(params.defaults().train.learning_rate)
    assert child.data.params["evaluate.calibration_bins"] == "15"
    assert tracked_runs.of_experiments(["fine-1", "fine-2"]) == {"fine-1": child.info.run_id}
    baseline, *more = [run for run in runs() if "x-ferops.training" in run.data.tags]
    assert not more
    assert "mlflow.parentRunId" not in baseline.data.tags


def test_a_run_that_two_sweeps_share_stays_a_child_of_the_first_and_has_both_names(
    pipeline: Pipeline, trial: Any
) -> None:
    first = tracked_runs.begin_sweep("fine", "key-1", SETTINGS, "flows/sweep.py")
    trial("fine-1", first.run_id)
    publish()
    trial(None, None)
    second = tracked_runs.begin_sweep("again", "key-2", SETTINGS, "flows/sweep.py")
    trial("again-1", second.run_id)
    publish()
    trial(None, None)
    publish()
    (child,) = children(first.run_id)
    assert children(second.run_id) == []
    assert tracked_runs.of_experiments(["fine-1", "again-1"]) == dict.fromkeys(["fine-1", "again-1"], child.info.run_id)
    assert len(runs()) == 3
