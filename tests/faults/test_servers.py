"""A tracking server that does not answer, dies in the middle or answers 500."""

import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import mlflow
import numpy as np
import pytest
from faults.repros import MEASURED, Repro, assert_in_store_once, eventually, finish, write_table
from faults.servers import Behavior, Gateway
from support import shell

from ferops import params

LIMIT = 30
"""Seconds within which `publish` fails where the server does not answer."""

FAULTS = tuple(behavior for behavior in get_args(Behavior) if behavior != "normal")


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


def assert_publish_gives_up(folder: Path, gateway: Gateway) -> float:
    """Check that `publish` fails within the limit, with one line that names the server; return the seconds it took."""
    done = shell(folder, sys.executable, "-m", "ferops.stages", "publish", check=False, MLFLOW_TRACKING_URI=gateway.uri)
    seconds = time.monotonic() - gateway.first_fault
    assert seconds < LIMIT, done.stderr
    assert done.returncode == 1, done.stdout
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("publish: ") and gateway.uri in done.stderr, (
        done.stderr
    )
    return seconds


def assert_trains_without(run: Repro) -> float:
    """Check that training completes with one warning and `publish` fails in one line; return the seconds it took."""
    run.wait_for_stage("publish")
    started = time.monotonic()
    assert run.wait() != 0
    seconds = time.monotonic() - started
    assert seconds < LIMIT
    lines = run.said().splitlines()
    assert len([line for line in lines if line.startswith("warning: ")]) == 1, run.said()
    assert len([line for line in lines if line.startswith("publish: ")]) == 1, run.said()
    assert "Traceback" not in run.said()
    return seconds


def test_a_server_that_dies_in_the_middle_of_a_training_gets_everything_once_when_it_is_back(
    repro: Path, tmp_path: Path, gateway: Gateway
) -> None:
    folder = stale(repro, tmp_path / "copy", seed=1)
    run = Repro(folder, MLFLOW_TRACKING_URI=gateway.uri)
    eventually(lambda: epochs_in_store(gateway.server, seed=1), 120, run.said)
    gateway.behave("dead")
    assert_trains_without(run)
    gateway.behave("error")
    assert_publish_gives_up(folder, gateway)

    gateway.behave("normal")
    finish(folder, MLFLOW_TRACKING_URI=gateway.uri)
    assert_in_store_once(folder, gateway.server)


def test_a_server_that_never_answers_does_not_keep_a_training_from_its_end(
    repro: Path, tmp_path: Path, gateway: Gateway
) -> None:
    folder = stale(repro, tmp_path / "copy", seed=2)
    gateway.behave("silent")
    done = shell(folder, sys.executable, "-m", "ferops.stages", "train", MLFLOW_TRACKING_URI=gateway.uri)
    assert done.stderr.startswith("warning: ") and done.stderr.count("\n") == 1
    assert "training goes on" in done.stderr


@pytest.fixture(scope="module")
def table() -> Iterator[list[dict[str, Any]]]:
    """Rows of the results, written at the end."""
    rows: list[dict[str, Any]] = []
    yield rows
    write_table(MEASURED / "servers.csv", rows)


@pytest.mark.fuzz
@pytest.mark.parametrize("moment", ["from the start", "after an epoch"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_training_under_any_fault_completes_and_is_logged_once_afterwards(
    repro: Path, tmp_path: Path, gateway: Gateway, table: list[dict[str, Any]], fault: Behavior, moment: str
) -> None:
    seed = 100 + len(table)
    folder = stale(repro, tmp_path / "copy", seed)
    if moment == "from the start":
        gateway.behave(fault)
    run = Repro(folder, MLFLOW_TRACKING_URI=gateway.uri)
    if moment == "after an epoch":
        eventually(lambda: epochs_in_store(gateway.server, seed), 120, run.said)
        gateway.behave(fault)
    seconds = assert_trains_without(run)
    gateway.behave("normal")
    finish(folder, MLFLOW_TRACKING_URI=gateway.uri)
    assert_in_store_once(folder, gateway.server)
    table.append({"fault": fault, "during": f"train, {moment}", "publish_gave_up_after_s": round(seconds, 1)})
    print(table[-1], flush=True)


@pytest.mark.fuzz
def test_a_publish_under_any_fault_fails_in_time_and_the_next_one_completes_it(
    repro: Path, tmp_path: Path, gateway: Gateway, table: list[dict[str, Any]]
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(repro, folder, symlinks=True)
    finish(folder, MLFLOW_TRACKING_URI=gateway.uri)
    forget(folder, gateway.server)
    gateway.behave("normal")
    finish(folder, MLFLOW_TRACKING_URI=gateway.uri)
    requests = gateway.requests  # of a publish again: the first one has more, to make the experiment
    random = np.random.default_rng(0)
    for fault in FAULTS:
        for after in sorted({0, *random.integers(1, requests, size=7).tolist()}):
            forget(folder, gateway.server)
            gateway.behave(fault, after=after)
            seconds = assert_publish_gives_up(folder, gateway)
            gateway.behave("normal")
            finish(folder, MLFLOW_TRACKING_URI=gateway.uri)
            assert_in_store_once(folder, gateway.server)
            during = f"publish, after {after} of {requests} requests"
            table.append({"fault": fault, "during": during, "publish_gave_up_after_s": round(seconds, 1)})
            print(table[-1], flush=True)


def forget(folder: Path, server: str) -> None:
    """Delete run and version of a training from the store and the registry."""
    record = json.loads((folder / "models/training.json").read_text())
    client = mlflow.MlflowClient(server)
    experiment = client.get_experiment_by_name("fer-vgg16").experiment_id
    for run in client.search_runs([experiment], f"tags.`x-ferops.key` = '{record['scratch_key']}'"):
        client.delete_run(run.info.run_id)
    digest = f"tags.`x-ferops.weights` = '{record['weights_digest']}'"
    for version in client.search_model_versions(f"name = 'fer-lean-cnn' and {digest}"):
        client.delete_model_version("fer-lean-cnn", version.version)
    for model in client.search_logged_models([experiment], digest):
        client.delete_logged_model(model.model_id)
    (folder / "reports/registry.jsonl").unlink(missing_ok=True)
