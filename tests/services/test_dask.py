"""A sweep on real Dask clusters: two worker processes of its own, and one that is running already."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import psutil
import pytest
from faults.repros import eventually
from flows.seen import add_perfect_trials
from support import shell

from ferops import params

pytestmark = pytest.mark.services
pytest.importorskip("prefect_dask", reason="the extra `team` is not installed")

COMMAND = (sys.executable, "flows/sweep.py", "--name", "side", "--set", "train.epochs=1")
RATES = ("--over", "train.learning_rate=0.0001,0.0003")
WEIGHTS, MISSING = "weights/vgg16_best.keras", "weights/none.keras"
SMALL = tuple(
    part
    for value in (
        "train.epochs=3",
        "model.name=lean_cnn",
        "model.weights=none",
        "model.frozen_blocks=0",
        "model.noise=0.0",
    )
    for part in ("--set", value)
)
LOADED = """
import sys
from prefect.flows import load_flow_from_entrypoint
flow = load_flow_from_entrypoint("flows/sweep.py:sweep")
state = flow(space={"evaluate.calibration_bins": [5]}, name="side", dask=sys.argv[1], return_state=True)
sys.exit(None if state.is_completed() else state.message)
"""
"""The flow as a deployment's worker loads it: no other process can import its file."""


class Sweep:
    """A sweep in a session of its own, so that its processes can be told from all others."""

    def __init__(self, folder: Path, *command: str) -> None:
        self._output = (folder.parent / "said.log").open("w+")
        self._process = subprocess.Popen(
            command, cwd=folder, stdout=self._output, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, "PREFECT_HOME": str(folder.parent / "prefect"),
                 "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120"},
        )  # fmt: skip

    def said(self) -> str:
        return Path(self._output.name).read_text()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def wait(self) -> int:
        return self._process.wait(600)

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def processes(self) -> list[psutil.Process]:
        """Of its session, itself included."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                if os.getsid(process.pid) == self._process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def stages(self, name: str) -> int:
        """How many processes run this stage."""
        commands = []
        for process in self.processes():
            with suppress(psutil.Error):
                commands.append(process.cmdline())
        return sum("ferops.stages" in command and command[-1] == name for command in commands)


@pytest.fixture
def clone(committed: Path, tmp_path: Path) -> Path:
    """A reproduced and committed repository of the test's own."""
    folder = Path(shutil.copytree(committed, tmp_path / "clone", symlinks=True))
    params.merge({"model": params.defaults().model.model_dump()}, folder / "params.yaml")  # which has a base to miss
    shell(folder, "git", "commit", "-q", "-a", "-m", "VGG16")
    return folder


@pytest.fixture
def sweep(clone: Path) -> Iterator[Any]:
    started: list[Sweep] = []

    def start(*arguments: str, command: tuple[str, ...] = COMMAND) -> Sweep:
        started.append(Sweep(clone, *command, *arguments))
        return started[-1]

    yield start
    for one in started:
        for process in one.processes():
            with suppress(psutil.Error):
                process.kill()


def experiments(clone: Path) -> list[str]:
    """By git: while one is saved, DVC is busy."""
    return shell(clone, "git", "for-each-ref", "--format=%(refname:lstrip=4)", "refs/exps/*/*/side-*").stdout.split()


def trials(clone: Path) -> pd.DataFrame:
    """The sweep's table, from its run in MLflow."""
    client = mlflow.MlflowClient(f"sqlite:///{clone / 'mlflow.db'}")
    (parent,) = client.search_runs(["1"], "attributes.run_name = 'side'")
    assert parent.info.status == "FINISHED"
    return pd.read_csv(client.download_artifacts(parent.info.run_id, "sweep.csv"))


def children(clone: Path) -> dict[str, Any]:
    client = mlflow.MlflowClient(f"sqlite:///{clone / 'mlflow.db'}")
    (parent,) = client.search_runs(["1"], "attributes.run_name = 'side'")
    found = client.search_runs(["1"], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert len({run.info.run_name for run in found}) == len(found)
    return {run.info.run_name: run for run in found}


def test_two_workers_train_side_by_side_and_a_killed_sweep_leaves_no_process_and_goes_on(
    clone: Path,
    sweep: Any,
) -> None:
    over = (*RATES, "--over", f"model.weights={WEIGHTS},{MISSING}", "--dask", "2")
    first = sweep(*over)
    eventually(lambda: first.stages("train") == 2 or first.has_ended(), 300, first.said)
    assert not first.has_ended(), first.said()
    for process in first.processes():
        for connection in process.net_connections():
            assert connection.status != psutil.CONN_LISTEN or connection.laddr.ip == "127.0.0.1", connection
    eventually(lambda: experiments(clone), 300, first.said)
    first.kill()
    eventually(lambda: not first.processes(), 10, lambda: str([one.cmdline() for one in first.processes()]))
    kept, *_ = experiments(clone)

    second = sweep(*over)
    assert second.wait() == 0, second.said()
    assert "4 trials, of which " in second.said()
    assert f"'{kept}'" not in second.said(), "what is finished is not run again"
    table = trials(clone)
    assert list(table["model.weights"]) == [WEIGHTS, WEIGHTS, MISSING, MISSING]
    assert sorted(table["train.learning_rate"][:2]) == [0.0001, 0.0003]
    assert table["reason"][2:].str.contains(MISSING).all()
    assert set(experiments(clone)) == set(table["experiment"][:2])
    runs = children(clone)
    assert runs.keys() == set(table["experiment"][:2])
    for row in table[:2].rename(columns={"train.learning_rate": "rate"}).itertuples():
        run = runs[row.experiment]
        assert run.info.run_id == row.run
        assert run.info.status == "FINISHED"
        assert run.data.metrics["acc_val"] == round(row.accuracy, 4)
        assert float(run.data.params["train.learning_rate"]) == row.rate
    assert not list((clone / ".dvc/tmp/ferops").iterdir())
    assert not shell(clone, "git", "status", "--short").stdout
    assert not second.processes()


def test_a_killed_tpe_sweep_goes_on_side_by_side_with_the_missing_trials_and_prunes_them(
    clone: Path,
    sweep: Any,
) -> None:
    range_ = ("--over", "train.learning_rate=0.0001..0.01 log", "--trials", "4", *SMALL, "--dask", "2", "--prune")
    first = sweep(*range_)
    eventually(lambda: experiments(clone) or first.has_ended(), 600, first.said)
    assert not first.has_ended(), first.said()
    first.kill()
    eventually(lambda: not first.processes(), 10, lambda: str([one.cmdline() for one in first.processes()]))
    kept = experiments(clone)
    study = add_perfect_trials(clone)

    second = sweep(*range_)
    assert second.wait() == 0, second.said()
    assert all(f"'{name}'" not in second.said() for name in kept), "what is finished is not run again"
    table = trials(clone)
    assert len(table) == 4
    pruned = table[table["reason"].fillna("").str.startswith("pruned after epoch ")]
    assert len(pruned) >= 1
    assert set(experiments(clone)) == set(table["experiment"]) - set(pruned["experiment"])
    assert set(kept) <= set(experiments(clone))
    runs = children(clone)
    assert {runs[name].info.status for name in experiments(clone)} == {"FINISHED"}
    for name in pruned["experiment"]:
        assert runs[name].info.status == "KILLED"
        assert runs[name].data.tags["accuracy"].startswith("PRUNED")
    assert not {trial.state.name for trial in study.get_trials()} & {"RUNNING", "WAITING"}
    assert not second.processes()


def test_a_running_cluster_is_an_address_and_its_workers_need_not_stand_in_the_clone(
    clone: Path,
    sweep: Any,
    tmp_path: Path,
) -> None:
    from distributed import LocalCluster

    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        cluster = LocalCluster(
            n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", memory_limit=0
        )
    finally:
        os.chdir(before)
    with cluster:
        one = sweep(cluster.scheduler_address, command=(sys.executable, "-c", LOADED))
        assert one.wait() == 0, one.said()
    assert len(trials(clone)) == 1
