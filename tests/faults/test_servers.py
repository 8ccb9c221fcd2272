"""A tracking server that does not answer, dies in the middle or answers 500."""

import shutil
import sys
import time
from pathlib import Path

import mlflow
from faults.repros import Repro, assert_in_store_once, eventually, finish
from faults.servers import Gateway
from support import shell

from ferops import params

LIMIT = 30
"""Seconds in which `publish` says that the server is not there."""


def stale(repro: Path, folder: Path, seed: int) -> Path:
    """A copy of the pipeline in which everything from `train` on has to run."""
    shutil.copytree(repro, folder, symlinks=True)
    params.merge({"train": {"seed": seed}}, folder / "params.yaml")
    return folder


def epochs_in_store(server: str, seed: int) -> int:
    client = mlflow.MlflowClient(server)
    experiment = client.get_experiment_by_name("fer-vgg16")
    if experiment is None:
        return 0
    found = client.search_runs([experiment.experiment_id], f"params.`train.seed` = '{seed}'")
    return sum(len(client.get_metric_history(run.info.run_id, "val/loss")) for run in found)


def assert_publish_gives_up(folder: Path, uri: str) -> None:
    """The stage ends within the limit, with one line that names the server."""
    started = time.monotonic()
    done = shell(folder, sys.executable, "-m", "ferops.stages", "publish", check=False, MLFLOW_TRACKING_URI=uri)
    assert time.monotonic() - started < LIMIT
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("publish: ") and uri in done.stderr


def assert_trains_without(run: Repro) -> None:
    """Train and evaluate end well, with one line of warning; publish fails in one line, within the limit."""
    run.wait_for_stage("publish")
    started = time.monotonic()
    assert run.wait() != 0
    assert time.monotonic() - started < LIMIT
    lines = run.said().splitlines()
    assert len([line for line in lines if line.startswith("warning: ")]) == 1, run.said()
    assert len([line for line in lines if line.startswith("publish: ")]) == 1, run.said()
    assert "Traceback" not in run.said()


def test_a_server_that_dies_in_the_middle_of_a_training_gets_everything_once_when_it_is_back(
    repro: Path, tmp_path: Path, gateway: Gateway
) -> None:
    folder = stale(repro, tmp_path / "copy", seed=1)
    run = Repro(folder, MLFLOW_TRACKING_URI=gateway.uri)
    eventually(lambda: epochs_in_store(gateway.server, seed=1), 120, run.said)
    gateway.be("dead")
    assert_trains_without(run)
    gateway.be("error")
    assert_publish_gives_up(folder, gateway.uri)

    gateway.be("well")
    finish(folder, MLFLOW_TRACKING_URI=gateway.uri)
    assert_in_store_once(folder, gateway.server)


def test_a_server_that_never_answers_does_not_keep_a_training_from_its_end(
    repro: Path, tmp_path: Path, gateway: Gateway
) -> None:
    folder = stale(repro, tmp_path / "copy", seed=2)
    gateway.be("silent")
    done = shell(folder, sys.executable, "-m", "ferops.stages", "train", MLFLOW_TRACKING_URI=gateway.uri)
    assert done.stderr.startswith("warning: ") and done.stderr.count("\n") == 1
    assert "training goes on" in done.stderr
