"""`dvc repro` under faults: start it, find and kill its processes, compare the result with an undisturbed run."""

import csv
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import mlflow
import pandas as pd
import psutil
import pytest
from ruamel.yaml import YAML
from support import ROOT

Victim = Literal["dvc", "stage", "both"]
MEASURED = ROOT / "docs/measured"
"""Where `make fuzz` writes its results."""

VICTIMS: tuple[Victim, ...] = ("dvc", "stage", "both")


def eventually(holds: Callable[[], Any], within: float, what: Callable[[], str]) -> Any:
    """Wait until a condition holds and return its value; the test fails after `within` seconds."""
    deadline = time.monotonic() + within
    while not (found := holds()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within:g} s: {what()}")
        time.sleep(0.02)
    return found


class Repro:
    """A `dvc repro` in a session of its own, by which its processes are found."""

    COMMAND: tuple[str, ...] = ("dvc", "repro")

    def __init__(self, folder: Path, *targets: str, **environment: str) -> None:
        self.started = time.monotonic()
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with the object
        self._process = subprocess.Popen(
            [*self.COMMAND, *targets], cwd=folder, stdout=self._output, stderr=subprocess.STDOUT,
            start_new_session=True, env={**os.environ, **environment},
        )  # fmt: skip
        self.pid = self._process.pid

    def said(self) -> str:
        """Return the output of dvc and its stages so far, stdout and stderr."""
        self._output.seek(0)
        return self._output.read()

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def stage(self) -> tuple[str, psutil.Process] | None:
        """Return the running stage, with its argument, and its process."""
        for process in self.processes():
            with suppress(psutil.Error):
                command = process.cmdline()
                if "ferops.stages" in command:
                    return " ".join(command[command.index("ferops.stages") + 1 :]), process
        return None

    def wait_for_stage(self, name: str) -> psutil.Process:
        """Wait for a stage to start; return its process."""

        def process() -> psutil.Process | None:
            running = self.stage()
            assert running or not self.has_ended(), f"dvc ended before {name}\n{self.said()}"
            return running[1] if running and running[0] == name else None

        return eventually(process, 120, lambda: f"stage {name}\n{self.said()}")

    def kill(self, victim: Victim) -> str:
        """Send SIGKILL, to dvc where no stage runs; return the stage that ran, or an empty string."""
        running = self.stage()
        with suppress(ProcessLookupError):
            if victim != "stage" or running is None:
                os.kill(self.pid, signal.SIGKILL)
            if victim != "dvc" and running is not None:
                os.kill(running[1].pid, signal.SIGKILL)
        return running[0] if running else ""

    def wait(self, within: float = 600) -> int:
        """Wait for dvc and all processes that it started; return its exit status.

        The test fails where one of them is left 10 s after dvc's end.
        """
        try:
            status = self._process.wait(within)
        except subprocess.TimeoutExpired:
            pytest.fail(f"dvc did not end within {within:g} s\n{self.said()}")
        eventually(lambda: not self.processes(), 10, lambda: f"orphans {self.processes()}\n{self.said()}")
        return status

    def processes(self) -> list[psutil.Process]:
        """Return the running processes of its session."""
        found = []
        for pid in psutil.pids():
            with suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getsid(pid) == self.pid and (process := psutil.Process(pid)).status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found


def finish(folder: Path, *targets: str, **environment: str) -> str:
    """Run `dvc repro` undisturbed to its end; return its output."""
    run = Repro(folder, *targets, **environment)
    assert run.wait() == 0, f"the next dvc repro failed\n{run.said()}"
    return run.said()


def saved_epochs(folder: Path) -> dict[int, float]:
    """Return the epochs in the checkpoint of an unfinished training, with their end times."""
    states = list(folder.glob(".scratch/*/progress.json"))
    assert len(states) <= 1, states
    return {row["epoch"]: row["time"] for state in states for row in json.loads(state.read_text())["history"]}


def recorded_epochs(folder: Path) -> dict[int, float]:
    """Return the epochs of history.csv, with their end times."""
    history = pd.read_csv(folder / "reports/train/history.csv")
    return dict(zip(history["epoch"], history["time"], strict=True))


def assert_same_result(folder: Path, reference: Path) -> None:
    """Compare data, epochs, weights, predictions and metrics; check for duplicates in the store and left-over files."""
    assert _data(folder) == _data(reference)
    histories = [pd.read_csv(place / "reports/train/history.csv").drop(columns="time") for place in (folder, reference)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)
    assert (
        _json(folder, "models/training.json")["weights_digest"]
        == (_json(reference, "models/training.json")["weights_digest"])
    )
    for split in ("val", "test"):
        assert _json(folder, f"metrics/{split}.json") == _json(reference, f"metrics/{split}.json")
    predictions = [pd.read_parquet(place / "predictions.parquet") for place in (folder, reference)]
    pd.testing.assert_frame_equal(*predictions, check_exact=True)
    assert_in_store_once(folder, f"sqlite:///{folder / 'mlflow.db'}")
    assert not list(folder.glob(".scratch/*"))
    assert not list(folder.glob(".git/*.lock"))


def assert_in_store_once(folder: Path, uri: str) -> None:
    """Check that the store has one run, model and version of this training, each epoch once; one event in git."""
    key, digest = (_json(folder, "models/training.json")[name] for name in ("scratch_key", "weights_digest"))
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("fer-vgg16").experiment_id
    (run,) = client.search_runs([experiment], f"tags.`x-ferops.key` = '{key}'")
    assert run.info.status == "FINISHED"
    for series in ("train/loss", "val/accuracy"):
        points = client.get_metric_history(run.info.run_id, series)
        assert {point.step: point.timestamp / 1000 for point in points} == (
            pytest.approx(recorded_epochs(folder), abs=0.001)
        )
        assert len(points) == len(recorded_epochs(folder))
    (version,) = client.search_model_versions(f"name = 'fer-lean-cnn' and tags.`x-ferops.weights` = '{digest}'")
    (model,) = client.search_logged_models([experiment], f"tags.`x-ferops.weights` = '{digest}'")
    assert (version.run_id, model.source_run_id, model.status) == (run.info.run_id, run.info.run_id, "READY")
    lines = (folder / "reports/registry.jsonl").read_text().splitlines()
    told = [(event["event"], event["weights_digest"]) for event in map(json.loads, lines)]
    assert told.count(("registered", digest)) == 1


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as a CSV file; a row may lack keys."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as stream:
        table = csv.DictWriter(stream, max(rows, key=len), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def _data(folder: Path) -> dict[str, str]:
    stages = YAML(typ="safe").load(folder / "dvc.lock")["stages"]
    outs = [out for name in stages for out in stages[name].get("outs", [])]
    return {out["path"]: out["md5"] for out in outs if out["path"].startswith("data/")}


def _json(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())
