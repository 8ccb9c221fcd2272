"""Live logging: it resumes where a killed training stopped, and never delays the training."""

import os
import socket
import subprocess
import sys
import threading
import time

import psutil
import pytest
from tracking.conftest import flushed

from ferops.tracking import store
from ferops.tracking.live import LiveRun
from ferops.tracking.outputs import Epoch
from ferops.tracking.record import PROCESS
from ferops.tracking.runs import same_attempt

pytestmark = pytest.mark.usefixtures("pipeline")

FLAT = {
    "data.dataset": "sample", "data.split": "official", "model.name": "lean_cnn", "model.weights": "none",
    "train.learning_rate": 0.001, "evaluate.test": True,
}  # fmt: skip


def epoch(number: int, offset: float = 0.0) -> Epoch:
    return Epoch(number, {"train/loss": 1 / number, "val/loss": 2 / number}, 1_700_000_000.0 + 60 * number + offset)


def train(first: int, last: int, *, offset: float = 0.0, kill: bool = False) -> None:
    """Log epochs `first` to `last` of a training whose checkpoint has the epochs before."""
    live = LiveRun("key", FLAT, history=[tuple(epoch(n, offset)) for n in range(1, first)])
    for number in range(first, last + 1):
        live.log_epoch(*epoch(number, offset))
    if kill:
        assert flushed(live)
    else:
        live.finish("digest")


def runs():
    opened = store.connect()
    return list(opened.client.search_runs([opened.experiment_id], order_by=["attributes.start_time ASC"]))


def steps(run) -> list[tuple[int, int]]:
    points = store.connect().client.get_metric_history(run.info.run_id, "train/loss")
    return sorted((point.step, point.timestamp) for point in points)


def test_epochs_carry_their_number_as_step_and_their_own_time():
    train(1, 3)

    (run,) = runs()
    assert steps(run) == [(n, round(1000 * epoch(n).time)) for n in (1, 2, 3)]
    assert run.info.status == "FINISHED" and run.data.tags["x-ferops.weights"] == "digest"
    assert run.data.params == {key: str(value) for key, value in FLAT.items() if key != "evaluate.test"}


def test_the_load_of_the_machine_is_logged_while_it_trains_and_is_no_epoch(monkeypatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2")  # MLflow's own setting, in seconds
    live = LiveRun("key", FLAT)
    assert flushed(live)
    deadline = time.monotonic() + 20
    while len(sampled := load(runs()[0])) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)

    train(1, 2)  # resumes it: the epochs of the first attempt, not the samples, decide

    (run,) = runs()
    assert len(sampled) >= 2 and run.info.status == "FINISHED"
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= set(run.data.metrics)
    assert [step for step, _ in steps(run)] == [1, 2]
    assert [step for step, _ in load(run)] == list(range(len(load(run))))


def test_where_the_load_cannot_be_read_the_training_is_logged_all_the_same(monkeypatch, capsys):
    monkeypatch.setattr(psutil, "net_io_counters", lambda *_, **__: None)  # as psutil where there is no interface

    train(1, 2)

    (run,) = runs()
    assert run.info.status == "FINISHED" and [step for step, _ in steps(run)] == [1, 2]
    assert not capsys.readouterr().err


def test_after_an_error_of_mlflow_nothing_is_logged_any_more(monkeypatch):
    from mlflow import MlflowClient

    before = set(threading.enumerate())
    live = LiveRun("key", FLAT)
    assert flushed(live)
    monkeypatch.setattr(MlflowClient, "log_batch", lambda *_, **__: (_ for _ in ()).throw(ValueError("disk full")))
    live.log_epoch(*epoch(1))
    live.finish("digest")

    assert set(threading.enumerate()) <= before


def load(run) -> list[tuple[int, int]]:
    points = store.connect().client.get_metric_history(run.info.run_id, "system/cpu_utilization_percentage")
    return sorted((point.step, point.timestamp) for point in points)


def test_a_killed_training_resumes_its_run_without_duplicate_epochs():
    train(1, 2, kill=True)
    assert runs()[0].info.status == "RUNNING"

    train(3, 4)

    (run,) = runs()
    assert [step for step, _ in steps(run)] == [1, 2, 3, 4]
    assert run.info.status == "FINISHED"


def test_an_epoch_logged_but_not_saved_before_the_kill_is_not_logged_twice():
    train(1, 2, kill=True)

    train(2, 3, offset=0.0)

    (run,) = runs()
    assert [step for step, _ in steps(run)] == [1, 2, 3]


def test_epochs_that_were_not_logged_before_the_kill_are_added():
    train(1, 1, kill=True)

    train(3, 3)

    (run,) = runs()
    assert [step for step, _ in steps(run)] == [1, 2, 3]


def test_a_training_from_its_start_does_not_resume_an_abandoned_run():
    train(1, 3, kill=True)

    train(1, 2, offset=5000.0)

    assert [run.info.status for run in runs()] == ["KILLED", "FINISHED"]


def test_a_training_killed_just_after_its_run_was_made_is_one_run_when_it_is_started_again():
    killed = (
        "import mlflow, os; mlflow.MlflowClient.log_batch = lambda *_, **__: os._exit(9); "
        f"from ferops.tracking.live import LiveRun; LiveRun('key', {FLAT}).finish(None)"
    )
    assert subprocess.run([sys.executable, "-c", killed], check=False).returncode == 9
    train(1, 2)
    (run,) = runs()
    assert run.info.status == "FINISHED"


def test_a_training_that_fails_is_shown_as_failed_and_resumes_its_run_when_it_is_tried_again():
    live = LiveRun("key", FLAT)
    live.log_epoch(*epoch(1))
    live.finish(None)
    (run,) = runs()
    assert run.info.status == "FAILED" and run.info.end_time and "x-ferops.weights" not in run.data.tags

    train(2, 3)

    (run,) = runs()
    assert run.info.status == "FINISHED" and [step for step, _ in steps(run)] == [1, 2, 3]


def test_a_training_that_ended_before_dvc_lock_was_written_stays_one_run():
    train(1, 2)

    train(3, 2)  # its checkpoint is complete: nothing is left to train

    (run,) = runs()
    assert [step for step, _ in steps(run)] == [1, 2]
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize(("born", "count"), [(psutil.Process(os.getppid()).create_time(), 2), (0.0, 1)])
def test_a_run_is_left_to_the_process_that_writes_to_it_but_not_to_another_with_its_number(born, count):
    train(1, 1, kill=True)
    (run,) = runs()
    store.connect().client.set_tag(run.info.run_id, PROCESS, f"{socket.gethostname()} {os.getppid()} {born:.0f}")

    train(2, 3)

    assert len(runs()) == count


@pytest.mark.parametrize("epochs", [0, 3])
def test_the_same_training_on_another_machine_is_another_run_and_neither_disturbs_the_other(epochs, monkeypatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(socket, "gethostname", lambda: "elsewhere")
        theirs = LiveRun("key", FLAT)
        for number in range(1, epochs + 1):
            theirs.log_epoch(*epoch(number))
        assert flushed(theirs)

    train(1, 2, offset=5000.0)
    assert [(run.info.status, len(steps(run))) for run in runs()] == [("RUNNING", epochs), ("FINISHED", 2)]

    theirs.finish("their digest")
    assert [run.info.status for run in runs()] == ["FINISHED", "FINISHED"]


def test_a_finished_run_of_the_same_key_is_left_alone():
    train(1, 2)

    train(1, 2)

    assert [len(steps(run)) for run in runs()] == [2, 2]


@pytest.mark.parametrize("answers", ["refuses", "never answers"])
def test_without_a_server_training_goes_on_with_one_line_of_warning(answers, monkeypatch, capsys):
    monkeypatch.setattr("ferops.tracking.live._WAIT", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
        if answers == "refuses":
            server.close()
        live = LiveRun("key", FLAT)
        for number in range(1, 51):
            live.log_epoch(*epoch(number))
        live.finish("digest")
    live._thread.join(20)  # it may still be waiting for the server that has gone by now

    told = capsys.readouterr().err
    assert told.startswith("warning: ") and told.count("\n") == 1 and "training goes on" in told


def test_an_error_of_mlflow_during_training_is_one_warning(monkeypatch, capsys):
    from mlflow import MlflowClient

    live = LiveRun("key", FLAT)
    monkeypatch.setattr(MlflowClient, "log_batch", lambda *_, **__: (_ for _ in ()).throw(ValueError("disk full")))
    for number in (1, 2, 3):
        live.log_epoch(*epoch(number))
    live.finish("digest")

    warnings = capsys.readouterr().err
    assert warnings.count("\n") == 1 and "disk full" in warnings


def test_an_attempt_is_recognized_by_the_times_of_its_epochs():
    logged = {n: epoch(n).time for n in (1, 2)}

    assert same_attempt(logged, [epoch(1), epoch(2), epoch(3)])
    assert same_attempt(logged, [epoch(1)])
    assert not same_attempt(logged, [])
    assert not same_attempt(logged, [epoch(1, 60), epoch(2, 60)])
