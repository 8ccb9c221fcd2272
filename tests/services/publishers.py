"""Clones that publish in the same moment, and what a store holds after it."""

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
    import keras, mlflow  # what takes seconds comes first
print("ready", flush=True)
sys.stdin.readline()
sys.argv = ["ferops.stages", "publish"]
runpy.run_module("ferops.stages", run_name="__main__")
"""
"""The stage, from the moment on that it is told to go."""

PROMOTE = """
import sys
import mlflow, pandas, sklearn.metrics
from ferops import cli
from ferops.commands import promote
print("ready", flush=True)
sys.stdin.readline()
sys.argv = ["ferops", "promote", REFERENCE]
cli.main()
"""
"""The command, likewise."""


class PublisherResult(NamedTuple):
    """The exit status of a process, and both of its outputs."""

    status: int
    said: str


class Stored(NamedTuple):
    """What the experiment and the registered model `fer-vgg16` hold."""

    runs: list[Any]
    versions: list[Any]
    models: list[Any]


def pipelines(place: Path, seeds: list[int]) -> list[Pipeline]:
    """Clones that have run up to `publish`, each with the weights of its seed."""
    made = []
    for number, seed in enumerate(seeds):
        folder = place / f"clone-{number}"
        folder.mkdir()
        pipeline = Pipeline(folder)
        pipeline.train(seed)
        made.append(pipeline)
    return made


def stored(uri: str) -> Stored:
    """Runs, versions and logged models of a store."""
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("fer-vgg16").experiment_id
    return Stored(
        list(client.search_runs([experiment])),
        list(client.search_model_versions("name='fer-vgg16'")),
        list(client.search_logged_models([experiment])),
    )


def at_once(scripts: Iterable[tuple[Path, str]], uri: str) -> list[PublisherResult]:
    """Run Python scripts, each in its folder; all of them go on together, once each has printed `ready`."""
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
        said = ["".join(process.communicate(timeout=300)) for process in processes]
        return [PublisherResult(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def publish_at_once(clones: Iterable[Pipeline], uri: str) -> None:
    """Every clone publishes, and ends well."""
    all_well([(clone.root, PUBLISH) for clone in clones], uri)


def all_well(scripts: Iterable[tuple[Path, str]], uri: str) -> None:
    """Run scripts at once; what those say that end with another status than 0 is shown."""
    failed = [ended.said for ended in at_once(scripts, uri) if ended.status]
    assert not failed, "\n".join(failed)
