"""The flow `sweep` on the small sample, with trials that train nothing: it takes long and shows no more."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from faults.repros import Repro, eventually
from flows.seen import Load, Typed, add_perfect_trials, artifacts, experiments, kept, run_cache, runs, tasks
from prefect import State
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import PREFECT_API_URL
from support import shell

SPACE = {"validate.min_image_std": [2.0, 100.0]}
"""The bound of the gate as it is, and one that no face reaches."""

TPE = (
    "--name", "killed", "--over", "train.learning_rate=0.0001..0.01 log", "--set", "train.epochs=3",
)  # fmt: skip


class Sweep(Repro):
    """The same with the flow in the place of `dvc repro`."""

    COMMAND = (sys.executable, "flows/sweep.py")


@pytest.fixture
def sweep(load: Load, server: None) -> Callable[..., State]:
    return lambda **parameters: load("sweep").sweep(**parameters, return_state=True)


@pytest.mark.services
def test_a_failed_trial_does_not_end_the_sweep_and_a_second_run_repeats_only_that_one(
    clone: Path, sweep: Callable[..., State], client: SyncPrefectClient
) -> None:
    (baseline,) = runs(clone)
    (clone / "params.yaml").write_text((clone / "params.yaml").read_text().replace("dropout: 0.3", "dropout: 0.9"))
    first = sweep(space=SPACE, name="gates")
    assert first.is_completed(), first.message
    (good,) = experiments(clone)
    assert str(first.message).startswith("1 of 2 trials; 1 failed; the best on validation: 0.")
    assert str(first.message).endswith(f", `dvc exp apply {good}`")
    (bad,) = tasks(client, first).keys() - {good}
    assert tasks(client, first) == {good: "COMPLETED", bad: "FAILED"}
    assert shell(clone, "git", "status", "--short").stdout.split() == ["M", "params.yaml"], "nobody's files are touched"
    assert "dropout: 0.3" in kept(clone, good, "params.yaml"), "trials start from the commit"
    assert "test: false" in kept(clone, good, "params.yaml")
    assert kept(clone, good, "metrics/test.json").strip() == "{}", "the test split is closed"

    found = runs(clone)
    assert found.keys() == {baseline, "gates", good}
    parent, child = found["gates"], found[good]
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert "mlflow.parentRunId" not in found[baseline].data.tags
    assert child.data.params["train.learning_rate"] == found[baseline].data.params["train.learning_rate"]
    assert parent.info.status == "FINISHED"
    assert parent.data.params["validate.min_image_std"] == "[2.0, 100.0]"
    assert parent.data.metrics["best_acc_val"] == child.data.metrics["acc_val"]
    assert parent.data.metrics["failed"] == 1
    files = mlflow.MlflowClient(f"sqlite:///{clone / 'mlflow.db'}").list_artifacts(parent.info.run_id)
    assert [file.path for file in files] == ["sweep.csv", "sweep.md", "sweep.png"]
    shown = artifacts(client, first)
    assert shown.keys() == {"sweep-trials", "sweep-picture", "sweep-run"}
    _, _, best, last = shown["sweep-trials"].splitlines()
    assert best.startswith("| 2 | ")
    assert f"{child.data.metrics['acc_val']:.4f}" in best
    assert last.startswith("| 100 | - | - |")
    assert "checks failed" in last
    assert "data:image/png;base64," in shown["sweep-picture"]
    assert f"/runs/{parent.info.run_id}" in shown["sweep-run"]

    second = sweep(space=SPACE, name="gates")
    assert second.is_completed()
    assert tasks(client, second) == {bad: "FAILED"}
    assert runs(clone).keys() == found.keys(), "it goes on in the same run"
    assert artifacts(client, second)["sweep-trials"] == shown["sweep-trials"]


@pytest.mark.services
def test_a_killed_tpe_sweep_goes_on_with_the_missing_trials_and_a_pruned_training_is_in_no_cache(
    clone: Path, server: None
) -> None:
    api = {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
    first = Sweep(clone, *TPE, "--trials", "2", **api)
    first.wait_for_stage("train")
    eventually(lambda: list(clone.glob(".scratch/*/*/progress.json")), 120, first.said)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait(30)
    assert not experiments(clone)

    second = Sweep(clone, *TPE, "--trials", "2", **api)
    assert second.wait() == 0, second.said()
    assert "2 trials, of which 0 are there already" in second.said()
    assert "going on after epoch" in second.said(), "the interrupted trial is the first of all"
    both = experiments(clone)
    assert len(both) == 2

    study = add_perfect_trials(clone)
    cached, locked = run_cache(clone), (clone / "dvc.lock").read_text()
    third = Sweep(clone, *TPE, "--trials", "3", "--prune", **api)
    assert third.wait() == 0, third.said()
    assert "3 trials, of which 2 are there already" in third.said()
    assert "2 of 3 trials; 1 pruned; the best on validation: 0." in third.said()
    assert "pruned after epoch 1" in third.said()
    assert experiments(clone) == both
    assert run_cache(clone) == cached, "DVC would restore what it has"
    assert (clone / "dvc.lock").read_text() == locked
    states = [trial.state.name for trial in study.get_trials() if "experiment" in trial.user_attrs]
    assert states == ["FAIL", "COMPLETE", "COMPLETE", "PRUNED"]
    (pruned,) = [name for name in runs(clone) if name.startswith("killed-") and name not in both]
    run = runs(clone)[pruned]
    assert run.info.status == "KILLED"
    assert run.data.tags["accuracy"].startswith("PRUNED")
    history = mlflow.MlflowClient(f"sqlite:///{clone / 'mlflow.db'}").get_metric_history(
        run.info.run_id, "val/accuracy"
    )
    assert [point.step for point in history] == [1]
    assert {runs(clone)[name].data.tags["mlflow.parentRunId"] for name in [*both, pruned]} == {
        runs(clone)["killed"].info.run_id
    }
    assert not list(clone.glob(".scratch/*")), "a pruned training is not resumed"
    assert not shell(clone, "git", "status", "--short").stdout

    fourth = Sweep(clone, *TPE, "--trials", "3", **api)
    assert fourth.wait() == 0, fourth.said()
    assert "3 trials, of which 3 are there already" in fourth.said()
    rate = f"train.learning_rate={run.data.params['train.learning_rate']}"
    again = shell(clone, "dvc", "exp", "run", "--temp", "-S", rate, "-S", "train.epochs=3", "train").stdout
    assert "epoch   1/3" in again, "the same parameters are trained anew"


def test_a_sweep_of_which_no_trial_succeeds_has_failed(clone: Path, sweep: Callable[..., State]) -> None:
    state = sweep(space={"validate.min_image_std": [100.0]})
    assert state.is_failed()
    assert str(state.message).startswith("0 of 1 trials; 1 failed: ")
    assert "checks failed" in str(state.message)
    (parent,) = [run for name, run in runs(clone).items() if name.startswith("sweep-")]
    assert parent.info.status == "FAILED"


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"space": {"train.speed": [1]}}, "there is no parameter 'train.speed'"),
        ({"space": {"train.epochs": [2, -1]}}, "trial train.epochs=-1: train.epochs: Input should be greater"),
        ({"space": {"evaluate.test": [True]}}, "evaluate.test cannot be searched or set"),
        ({"space": SPACE, "overrides": {"evaluate.test": True}}, "evaluate.test cannot be searched or set"),
        ({"space": SPACE, "overrides": {"validate.min_image_std": 1.0}}, "in the space and among the overrides"),
        ({"space": SPACE, "recipe": "papr"}, "there is no recipe 'papr'"),
        ({"space": SPACE, "name": "a/b"}, "'a/b' cannot name a sweep"),
        ({"space": SPACE, "dask": 2}, "prefect-dask is not installed: pip install prefect-dask"),
    ],
)
def test_a_mistake_is_one_line_before_anything_runs(
    unchanged: Path,
    sweep: Callable[..., State],
    monkeypatch: pytest.MonkeyPatch,
    parameters: dict[str, Any],
    said: str,
) -> None:
    monkeypatch.setitem(sys.modules, "prefect_dask", None)  # as where the extra is not installed
    state = sweep(**parameters)
    assert state.is_failed()
    assert said in str(state.message)
    assert "\n" not in str(state.message)
    assert len(runs(unchanged)) == 1


def test_help_shows_an_example_and_a_wrong_range_is_one_line(typed: Typed) -> None:
    assert "--over train.learning_rate=0.0001,0.0003" in typed("sweep", "--help")
    assert typed("sweep", "--over", "train.epochs").startswith("'train.epochs': expected KEY=VALUE")
