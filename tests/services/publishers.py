"""Clones that publish in the same moment, and what a store holds after it."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
from tracking.conftest import Pipeline

PUBLISH = """
import runpy, sys
from ferops.stages.quiet import quiet_imports
with quiet_imports():
    import keras, mlflow  # what takes seconds comes first
print("ready", flush=True)
sys.stdin.readline()
sys.argv = ["ferops.stages", "publish"]
runpy.run_module("ferops.stages", run_name="__main__")
"""
"""The stage, from the moment on that it is told to go."""


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


def at_once(script: str, folders: list[Path], uri: str) -> list[str]:
    """Run a Python script in every folder, all going on together once each has printed `ready`; what each said then.

    Fails where one ends with another exit status than 0.
    """
    with ExitStack() as running:
        processes = []
        for folder in folders:
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
        failed = [text for process, text in zip(processes, said, strict=True) if process.returncode]
        assert not failed, "\n".join(failed)
        return said
