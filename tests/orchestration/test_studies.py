"""Optuna's studies of sweeps, with trials that are told their results at once: nothing is trained."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import optuna
import pytest
from support import ROOT, shell

from ferops import params
from ferops.machine.files import SCRATCH
from ferops.orchestration.sweeps import search_space, studies, sweep_report
from ferops.orchestration.sweeps.experiments import Trial, TrialResult
from ferops.orchestration.sweeps.search_space import Method, Search
from ferops.orchestration.sweeps.studies import Pruned, SweepIsRunning

GRID = {"train.learning_rate": [0.0001, 0.0003], "model.dropout": [0.2, 0.4]}
SPACE = {"train.learning_rate": {"min": 1e-5, "max": 1e-1, "log": True}, "train.schedule": ["constant", "cosine"]}
INTERRUPTED = """
import os, signal
from ferops.orchestration.sweeps import search_space, studies
from ferops.orchestration.sweeps.experiments import TrialResult
search = search_space.plan({space}, name="fine", method={method!r}, trials=6)
with studies.opened(search, prune=False) as study:
    for number, trial in enumerate(study.ask()):
        print(trial.name, flush=True)
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        study.tell(TrialResult(trial, None, "pruned", is_pruned=True))
"""


@pytest.fixture(autouse=True)
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shell(tmp_path, "git", "init", "-q")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shell(tmp_path, "git", "add", "params.yaml")
    shell(tmp_path, "git", "commit", "-q", "-m", "start")
    return tmp_path


def plan(space: Any, name: str = "fine", **given: Any) -> Search:
    return search_space.plan(space, name=name, **given)


def scored(trial: Trial, accuracy: float) -> TrialResult:
    return TrialResult(trial, {"accuracy": accuracy})


def pruned(trial: Trial) -> TrialResult:
    return TrialResult(trial, None, "pruned after epoch 1", is_pruned=True)


def run(search: Search, result: Any = pruned) -> list[Trial]:
    """Run the sweep to its end; return the trials that it asked for."""
    asked = []
    with studies.opened(search, prune=False) as study:
        for trial in study.ask():
            asked.append(trial)
            study.tell(result(trial))
    return asked


def values(trials: Sequence[Trial], key: str) -> list[Any]:
    return [trial.values[key] for trial in trials]


def test_a_grid_is_asked_for_once_in_its_order() -> None:
    search = plan(GRID)
    asked = run(search)
    assert [trial.values for trial in asked] == search.combinations()
    assert run(search) == [], "an exhausted grid has no more"


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_the_same_seed_gives_the_same_trials_and_more_of_them_begin_with_the_same(method: str) -> None:
    ten, again, other = (
        run(plan(SPACE, f"s{number}", method=method, trials=10, seed=seed)) for number, seed in enumerate((1, 1, 2))
    )
    assert [trial.values for trial in ten] == [trial.values for trial in again]
    assert [trial.values for trial in ten] != [trial.values for trial in other]
    more = run(plan(SPACE, "s0", method=method, trials=13, seed=1))
    assert len(more) == 3, "ten are there"
    assert not {trial.name for trial in more} & {trial.name for trial in ten}


def test_a_range_is_sampled_from_end_to_end_in_the_parameters_own_type() -> None:
    space = {
        "train.learning_rate": {"min": 1e-5, "max": 1e-1, "log": True},
        "model.dropout": {"min": 0, "max": 0.8},
        "train.batch_size": {"min": 7.5, "max": 11},
    }
    asked = run(plan(space, method="random", trials=100))
    rates = values(asked, "train.learning_rate")
    assert all(1e-5 <= rate <= 1e-1 for rate in rates)
    assert 0.35 < sum(rate < 1e-3 for rate in rates) / len(rates) < 0.65, "each decade gets its share"
    assert all(0 <= one <= 0.8 for one in values(asked, "model.dropout"))
    assert {*values(asked, "train.batch_size")} == {8, 9, 10, 11}


def test_tpe_samples_where_the_results_were_good() -> None:
    def distance(method: Method) -> float:
        """Mean of the last trials from the best value."""
        search = plan({"model.dropout": {"min": 0, "max": 0.9}}, method=method, trials=40)
        asked = run(search, lambda trial: scored(trial, 1 - abs(trial.values["model.dropout"] - 0.3)))
        return float(np.mean([abs(value - 0.3) for value in values(asked, "model.dropout")[-20:]]))

    assert distance("tpe") < 0.5 * distance("random")


def test_a_small_space_ends_with_all_of_it() -> None:
    asked = run(plan(GRID, method="tpe", trials=50))
    assert len({trial.name for trial in asked}) == len(asked) == 4


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_a_killed_sweep_goes_on_with_the_trials_of_an_uninterrupted_one(method: str, clone: Path) -> None:
    search = plan(SPACE, method=method, trials=6)
    whole = run(search)
    (journal,) = (clone / "sweeps").glob("*.journal")
    journal.unlink()
    code = INTERRUPTED.format(space=SPACE, method=method)
    killed = subprocess.run([sys.executable, "-c", code], cwd=clone, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert killed.stdout.split() == [trial.name for trial in whole[:4]]
    with journal.open("ab") as file:
        file.write(b'{"op_code":6,"worker_i')  # as where it was killed while it wrote
    assert run(search) == whole[3:]


def test_a_failed_trial_is_asked_for_again_and_a_pruned_one_is_not() -> None:
    search = plan(GRID)
    results = iter([pruned, lambda trial: TrialResult(trial, None, "checks failed"), pruned, pruned])
    asked = run(search, lambda trial: next(results)(trial))
    with studies.opened(search, prune=False) as study:
        assert len(study.ended()) == 3
        found = study.results()
        assert [one.reason for one in found] == [*["pruned after epoch 1"] * 3, "checks failed"]
        assert found[-1].trial == asked[1]
    assert run(search) == [asked[1]]


def test_a_trial_whose_experiment_was_dropped_is_asked_for_again() -> None:
    search = plan(GRID)
    asked = run(search, lambda trial: scored(trial, 0.5))
    assert run(search) == asked


def test_two_processes_do_not_run_one_sweep_at_once() -> None:
    search = plan(GRID)
    with (
        studies.opened(search, prune=False),
        pytest.raises(SweepIsRunning, match="fine is running already"),
        studies.opened(search, prune=False),
    ):
        pass


def test_a_trial_is_pruned_after_an_epoch_that_is_worse_than_the_median_of_five(clone: Path) -> None:
    params.merge({"train": {"epochs": 8}}, clone / "params.yaml")
    history: list[dict[str, float]] = []
    checkpoint = clone / SCRATCH / "key/progress.json"
    checkpoint.parent.mkdir(parents=True)

    def epochs(watch: Any, *accuracies: float) -> int:
        """Train; return after how many epochs it was pruned."""
        history.clear()
        for accuracy in accuracies:
            history.append({"epoch": len(history) + 1, "time": 1.0, "val/accuracy": accuracy})
            checkpoint.write_text(json.dumps({"history": history}))
            try:
                watch("epoch")
            except Pruned as ended:
                assert ended.history == history
                return len(history)
        return 0

    search = plan({"train.seed": list(range(9))}, name="eight", overrides={"train.epochs": 8})
    said: list[str] = []
    with studies.opened(search, prune=True) as study:
        for number, trial in enumerate(study.ask()):
            checkpoint.unlink(missing_ok=True)
            assert trial.watch
            watch = trial.watch(clone, said.append)
            if number < 5:
                assert not epochs(watch, 0.5, 0.6, 0.7), "there is no median yet"
                study.tell(scored(trial, 0.7))
            elif number == 5:
                assert epochs(watch, 0.2, 0.3, 0.4) == 2, "the first quarter of eight epochs is a warm-up"
                study.tell(pruned(trial))
            elif number == 6:
                assert not epochs(watch, 0.6, 0.7, 0.1), "its best counts"
                study.tell(scored(trial, 0.7))
            elif number == 7:
                assert not epochs(watch, 0.5, *[0.7] * 6, 0.7)
                study.tell(scored(trial, 0.7))
    assert set(said) == {"epoch"}
    (journal,) = (clone / "sweeps").glob("*.journal")
    states = [trial.state.name for trial in studies.load(journal).trials]
    assert states == [*["COMPLETE"] * 5, "PRUNED", *["COMPLETE"] * 2, "RUNNING"]


def test_the_pictures_show_the_trials_that_have_a_result(clone: Path) -> None:
    search = plan({"train.learning_rate": [0.0001, 0.0003], "model.dropout": [0.2, 0.4], "train.schedule": ["cosine"]})
    accuracies = iter([0.5, 0.6, 0.4])
    with studies.opened(search, prune=False) as study:
        assert sweep_report.draw(clone, study) == []
        for trial in study.ask():
            accuracy = next(accuracies, None)
            study.tell(scored(trial, accuracy) if accuracy else pruned(trial))
        files = sweep_report.draw(clone, study)
    assert [file.name for file in files] == ["sweep.png", "importance.png"]
    assert all(cv2.imread(str(file)).std() > 5 for file in files)


def test_optuna_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    run(plan(SPACE, trials=3))
    assert capsys.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == optuna.logging.ERROR
