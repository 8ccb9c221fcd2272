"""What README promises of Prefect: real server, worker and deployments, in a clone whose files nobody touches."""

import csv
import hashlib
import io
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import cv2
import mlflow
import numpy as np
import pandas as pd
import pytest
from faults.repros import eventually, saved_epochs
from faults.servers import free_port
from services.deployed import DEPLOY, LOOPBACK, Deployed, deployed
from support import shell

from ferops.data.synthetic import generator

pytestmark = pytest.mark.services

NIGHTLY = "training/nightly"
LONG = {"train.epochs": 6, "evaluate.test": False}
"""Enough epochs that a test can step in between."""


@pytest.fixture(scope="module")
def started(committed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("prefect")
    clone = folder / "clone"
    shutil.copytree(committed, clone, symlinks=True)
    with deployed(clone, folder) as running:
        yield running


@pytest.fixture
def prefect(started: Deployed) -> Iterator[Deployed]:
    """After the test nothing is left of its runs, and the workspace is as it was."""
    before = workspace(started.clone)
    yield started
    assert workspace(started.clone) == before
    assert shell(started.clone, "git", "worktree", "list").stdout.count("\n") == 1
    assert not list(started.clone.glob(".scratch/*/progress.json")), "no checkpoint of a training that ended is kept"
    assert not list(started.clone.glob(".git/**/*.lock")), "no lock of git is left behind"
    assert not list(started.clone.glob(".dvc/tmp/ferops/*")), "nor a worktree of a run that was killed"


def workspace(clone: Path) -> dict[str, Any]:
    """What a user has there: git's and DVC's opinion, the branch, every file but the stores that runs share."""
    shared = (".git", ".dvc/cache", ".dvc/tmp", ".scratch", "mlflow.db", "mlartifacts", "reports/monitoring", "sweeps")
    return {
        "git": shell(clone, "git", "status", "--porcelain", "--branch").stdout,
        "head": shell(clone, "git", "rev-parse", "HEAD").stdout,
        "dvc": shell(clone, "dvc", "status", "--json").stdout,
    } | {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(clone.rglob("*"))
        if path.is_file() and not (name := path.relative_to(clone).as_posix()).startswith(shared)
    }


def kept(clone: Path, experiment: str, path: str) -> str:
    """A file of a DVC experiment."""
    (ref,) = shell(clone, "git", "for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{experiment}").stdout.split()
    return shell(clone, "git", "show", f"{ref}:{path}").stdout


def experiments(clone: Path) -> set[str]:
    return {
        line.rpartition("/")[2]
        for line in shell(clone, "git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
        if "/training-" in line
    }


def epochs(clone: Path, experiment: str) -> dict[int, float]:
    """Epochs of an experiment's training -> when they ended."""
    rows = csv.DictReader(io.StringIO(kept(clone, experiment, "reports/train/history.csv")))
    return {int(row["epoch"]): float(row["time"]) for row in rows}


def stages(prefect: Deployed, run: UUID) -> dict[str, str]:
    """Task of a run -> the name of its state."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    tasks = prefect.client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run])))
    return {task.name: task.state.name for task in tasks if task.state}


def test_a_deployment_trains_apart_from_the_workspace_and_its_results_are_kept(prefect: Deployed) -> None:
    before = experiments(prefect.clone)
    run = prefect.start(NIGHTLY, overrides={"train.seed": 1})
    ended = prefect.wait(run, "Completed")
    states = stages(prefect, run)
    assert {states[stage] for stage in ("sample", "preprocess", "augment")} == {"Cached"}
    assert {states[stage] for stage in ("train", "evaluate", "publish")} == {"Ran"}
    (experiment,) = experiments(prefect.clone) - before
    assert "seed: 1\n" in kept(prefect.clone, experiment, "params.yaml")
    assert ended.deployment_id
    again = prefect.start(NIGHTLY, overrides={"train.seed": 1})
    prefect.wait(again, "Completed")
    assert stages(prefect, again)["train"] == "Cached"


def test_schedules_are_there_with_their_time_zone_and_off(prefect: Deployed) -> None:
    schedules = {
        deployment.name: [(one.schedule.cron, one.schedule.timezone, one.active) for one in deployment.schedules]
        for deployment in prefect.client.read_deployments()
    }
    assert schedules["nightly"] == [("0 2 * * *", "UTC", False)]
    assert not any(is_active for some in schedules.values() for _, _, is_active in some)


def test_a_schedule_is_switched_on_and_off(prefect: Deployed) -> None:
    def nightly() -> Any:
        (schedule,) = prefect.client.read_deployment_by_name(NIGHTLY).schedules
        return schedule

    number = str(nightly().id)
    assert number[:8] in prefect.type("prefect", "deployment", "schedule", "ls", NIGHTLY)
    prefect.type("prefect", "deployment", "schedule", "resume", NIGHTLY, number)
    assert nightly().active
    prefect.type("prefect", "deployment", "schedule", "pause", NIGHTLY, number)
    assert not nightly().active


def test_nothing_that_is_unset_and_no_other_path_than_the_clone_is_stored(prefect: Deployed) -> None:
    for deployment in prefect.client.read_deployments():
        assert deployment.pull_steps == [
            {"prefect.deployments.steps.set_working_directory": {"directory": str(prefect.clone)}}
        ]
        assert "{{" not in deployment.model_dump_json()
        assert deployment.description
        assert deployment.tags


@pytest.mark.parametrize("how", ["cancelled", "killed"])
def test_a_run_that_is_stopped_leaves_no_process_and_the_next_one_goes_on_after_its_last_epoch(
    prefect: Deployed, how: str
) -> None:
    seed = {"cancelled": 2, "killed": 3}[how]
    before = experiments(prefect.clone)
    run = prefect.start(NIGHTLY, overrides={**LONG, "train.seed": seed})
    flow = prefect.process(run, "prefect.engine")
    prefect.process(run, "ferops.stages", "train")
    eventually(lambda: saved_epochs(prefect.clone), 120, lambda: f"an epoch\n{prefect.log(run)}")
    if how == "killed":
        flow.kill()
        stopped = time.monotonic()
    else:
        stopped = time.monotonic()
        prefect.type("prefect", "flow-run", "cancel", str(run))
    eventually(
        lambda: not prefect.processes(run), 10 - (time.monotonic() - stopped), lambda: str(prefect.processes(run))
    )
    done = saved_epochs(prefect.clone)
    assert done
    prefect.wait(run, {"cancelled": "Cancelled", "killed": "Crashed"}[how], within=60)
    again = prefect.start(NIGHTLY, overrides={**LONG, "train.seed": seed})
    prefect.wait(again, "Completed")
    (experiment,) = experiments(prefect.clone) - before
    trained = epochs(prefect.clone, experiment)
    assert sorted(trained) == list(range(1, len(trained) + 1))
    assert {epoch: trained[epoch] for epoch in done} == pytest.approx(done, abs=0.001)


def test_a_flow_whose_worker_is_killed_runs_to_its_end(prefect: Deployed) -> None:
    run = prefect.start(NIGHTLY, overrides={"train.seed": 4, "evaluate.test": False})
    prefect.process(run, "ferops.stages", "train")
    prefect.kill_worker()
    prefect.wait(run, "Completed")
    prefect.start_worker()
    assert stages(prefect, run)["publish"] == "Ran"


def test_the_commands_of_the_guide(prefect: Deployed) -> None:
    """Its run has the demo's recipe, and waits for its end; the others are typed by the fixture."""
    page = (prefect.clone / "docs/guide/prefect.md").read_text()
    run = "prefect deployment run 'training/nightly' -p recipe=demo"
    assert {DEPLOY, run, "prefect worker start --pool ferops"} <= set(page.splitlines())
    small = """-p overrides='{"train.epochs": 1, "evaluate.test": false}'"""
    prefect.type("bash", "-c", f"{run} {small} --watch")


def test_of_two_runs_at_once_one_waits_for_the_other_and_both_end_right(prefect: Deployed) -> None:
    before = experiments(prefect.clone)
    runs = [prefect.start(NIGHTLY, overrides={"train.seed": seed, "train.epochs": 1}) for seed in (5, 6)]

    def states() -> list[str]:
        return [prefect.client.read_flow_run(run).state.name for run in runs]

    # which of them gets the slot is the worker's choice
    eventually(lambda: "AwaitingConcurrencySlot" in states(), 60, lambda: str(states()))
    first, second = sorted((prefect.wait(run, "Completed") for run in runs), key=lambda run: run.start_time.timestamp())
    assert first.end_time <= second.start_time
    new = experiments(prefect.clone) - before
    assert {"seed: 5\n" in kept(prefect.clone, name, "params.yaml") for name in new} == {True, False}
    assert len(new) == 2
    client = mlflow.MlflowClient(f"sqlite:///{prefect.clone / 'mlflow.db'}")
    found = client.search_runs([client.get_experiment_by_name("fer-vgg16").experiment_id])
    seeds = [run.data.params.get("train.seed") for run in found]
    assert (seeds.count("5"), seeds.count("6")) == (1, 1)
    assert {run.info.status for run in found} == {"FINISHED"}


def test_scoring_monitoring_promotion_and_sweep_run_from_their_deployments(prefect: Deployed, tmp_path: Path) -> None:
    sample = generator.generate_sample(seed=1, counts={"train": 140, "validation": 14, "test": 14})
    new = np.unique(sample.images, axis=0)  # a duplicate is scored once
    (tmp_path / "faces").mkdir()
    for number, image in enumerate(new):
        cv2.imwrite(str(tmp_path / f"faces/{number}.png"), image)
    asked = {"model": "fer-lean-cnn@challenger"}
    scored = str(tmp_path / "scored")
    prefect.wait(prefect.start("scoring/incoming", images=str(tmp_path / "faces"), output=scored, **asked), "Completed")
    assert len(pd.read_parquet(scored, columns=["label"])) == len(new)
    looked = prefect.start("monitoring/daily", scored=scored, **asked)
    assert f"{len(new)} images scored" in prefect.wait(looked, "Completed", "Failed").state.message
    held = prefect.start("promotion/challenger", require_approval=False)
    prefect.wait(held, "Refused")
    space = {"train.seed": [11, 12]}
    prefect.wait(prefect.start("sweep/grid", space=space, overrides={"train.epochs": 1}), "Completed")


def test_a_mistake_is_the_message_of_a_failed_run(prefect: Deployed) -> None:
    run = prefect.start(NIGHTLY, recipe="papr")
    state = prefect.wait(run, "Failed").state
    assert "papr" in state.message
    assert "\n" not in state.message
    assert "flows/training.py" not in prefect.log(run), (
        "Prefect's engine shows a traceback of its own, without us in it"
    )


def test_without_its_server_a_flow_says_so_in_one_line(prefect: Deployed) -> None:
    nobody = f"http://127.0.0.1:{free_port()}/api"
    done = subprocess.run(
        [sys.executable, "flows/training.py"], cwd=prefect.clone, capture_output=True, text=True, check=False,
        env={**prefect.environment, "PREFECT_API_URL": nobody},
    )  # fmt: skip
    assert done.returncode == 1
    assert nobody in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_no_process_of_all_these_asked_another_machine(prefect: Deployed, tmp_path: Path) -> None:
    assert prefect.left.read_text() == ""
    seen = tmp_path / "left"
    for asks in ("socket.getaddrinfo('example.org', 443)", "socket.create_connection(('192.0.2.1', 443))"):
        shell(tmp_path, sys.executable, "-c", f"import socket; {asks}", check=False,
              PYTHONPATH=str(LOOPBACK), LEFT=str(seen))  # fmt: skip
    assert seen.read_text().count("\n") == 2, "it would have been noticed"
