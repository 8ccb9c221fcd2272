"""Clones that publish at the same time, and the content of a store after it."""

import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
from tracking.conftest import Pipeline

PUBLISH = """
import runpy, sys
from ferops.machine.tensorflow import quiet_imports
with quiet_imports():
    import keras, mlflow  # slow imports first
print("ready", flush=True)
sys.stdin.readline()
sys.argv = ["ferops.stages", "publish"]
runpy.run_module("ferops.stages", run_name="__main__")
"""
"""The stage: it waits for a line on stdin, then runs."""

PROMOTE = """
import sys
import mlflow, pandas, sklearn.metrics
from ferops import cli
from ferops.commands.registry import promote
print("ready", flush=True)
sys.stdin.readline()
sys.argv = ["ferops", "promote", REFERENCE]
cli.main()
"""
"""The command: likewise."""

TURNS = """
import os, socket, sys, time
from ferops.tracking import store
from ferops.tracking import mutex
opened = store.connect()
print("ready", flush=True)
sys.stdin.readline()
kept = []  # a lock object that is garbage collected is released
for _ in range(COUNT):
    kept.append(mutex.lock(opened, "test", "a test", wait=120))
    kept[-1].__enter__()
    os.mkdir("../inside")  # fails while another process holds the lock
    time.sleep(0.01)
    os.rmdir("../inside")
    for model in opened.client.search_registered_models("name LIKE 'fer.lock.test.%'"):
        if f" {os.getpid()} " in model.tags.get("process", ""):  # one that was just deleted has none
            opened.client.set_registered_model_tag(model.name, "process", f"{socket.gethostname()} 0 1")
os._exit(0)
"""
"""Acquires the same lock COUNT times, and each time leaves it held, as a process does that is killed."""


class ProcessResult(NamedTuple):
    """Exit status and output of a process that has ended."""

    status: int
    output: str


class Stored(NamedTuple):
    """Content of the experiment and of the registered model `fer-vgg16`."""

    runs: list[Any]
    versions: list[Any]
    models: list[Any]


def pipelines(place: Path, seeds: list[int]) -> list[Pipeline]:
    """Make clones that have run up to `publish`, each with the weights of its seed."""
    made = []
    for number, seed in enumerate(seeds):
        folder = place / f"clone-{number}"
        folder.mkdir()
        pipeline = Pipeline(folder)
        pipeline.train(seed)
        made.append(pipeline)
    return made


def stored(uri: str) -> Stored:
    """Return runs, versions and logged models of a store."""
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("fer-vgg16").experiment_id
    return Stored(
        list(client.search_runs([experiment])),
        list(client.search_model_versions("name='fer-vgg16'")),
        list(client.search_logged_models([experiment])),
    )


def at_once(scripts: Iterable[tuple[Path, str]], uri: str, seconds: float = 300) -> list[ProcessResult]:
    """Run Python scripts, each in its folder; all continue together, once each has printed `ready`."""
    with ExitStack() as running:
        processes = []
        for folder, script in scripts:
            process = subprocess.Popen(
                [sys.executable, "-c", script], cwd=folder, text=True, env={**os.environ, "MLFLOW_TRACKING_URI": uri},
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            processes.append(running.enter_context(process))
            running.callback(process.kill)
        assert {process.stdout.readline() for process in processes} == {"ready\n"}
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        said = ["".join(process.communicate(timeout=seconds)) for process in processes]
        return [ProcessResult(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def publish_at_once(clones: Iterable[Pipeline], uri: str) -> None:
    """Publish from all clones at once, without an error."""
    all_well([(clone.root, PUBLISH) for clone in clones], uri)


def all_well(scripts: Iterable[tuple[Path, str]], uri: str, seconds: float = 300) -> None:
    """Run scripts at once; the test fails with the output of those whose status is not 0."""
    failed = [ended.output for ended in at_once(scripts, uri, seconds) if ended.status]
    assert not failed, "\n".join(failed)
