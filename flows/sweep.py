"""Flow `sweep`: a grid or random search over the parameters, each trial a DVC experiment.

    python flows/sweep.py --over train.learning_rate=0.0001,0.0003 --over model.dropout=0.2,0.4

Every trial starts from the clone's commit, in a git worktree of its own, and is scored on validation alone. What is
finished is found by its name and not run again. Trials run in turn, or side by side as tasks of a Dask cluster.
"""

import os
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from prefect import State, flow, get_run_logger, runtime, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed
from rich.console import Console
from rich.table import Table

from ferops.errors import FeropsError
from ferops.orchestration import artifacts, cluster, coordinates, folders, pipeline, search, terminal
from ferops.orchestration.folders import Folder
from ferops.orchestration.search import Method, Outcome, Trial
from ferops.tracking import describe, sweeps


@task(task_run_name="{name}", cache_policy=NO_CACHE)
def run_trial(name: str, values: dict[str, Any], clone: str, sweep_run: str) -> State:
    """Run the pipeline with these parameters apart from everything, and keep what came of it as a DVC experiment."""
    log = get_run_logger().info
    os.chdir(clone)  # a Dask worker was started somewhere else
    try:
        with folders.apart(values, name, is_experiment=True) as place:
            folder = Folder(place.path, {**place.environment, describe.SWEEP_RUN: sweep_run})
            pipeline.pull(folder, log)
            stale = pipeline.stale(folder)
            ran: set[str] = set()
            for stage, reads in pipeline.stages(folder.path).items():
                if (stage in stale or reads & ran) and pipeline.reproduce(folder, stage, log).how == "ran":
                    ran.add(stage)
            pipeline.keep(folder, name, log)
    except FeropsError as error:
        return Failed(message=str(error))
    return Completed()


@flow
def sweep(
    space: dict[str, Any],
    method: Method = "grid",
    trials: int | None = None,
    seed: int = 0,
    recipe: str | None = None,
    overrides: dict[str, Any] | None = None,
    name: str | None = None,
    dask: int | str | None = None,
) -> State:
    """Search parameters: every trial is a DVC experiment that is scored on validation and never on test.

    Args:
        space: dotted keys and the values to try, as in {"train.learning_rate": [0.0001, 0.0003]}; for random search
            also ranges, as in {"train.learning_rate": {"min": 1e-5, "max": 1e-3, "log": true}}.
        method: grid tries every combination, random so many of them.
        trials: how many, for random search.
        seed: of random search.
        recipe: a file of recipes/ for all trials.
        overrides: single parameters for all trials, by their dotted keys.
        name: of the sweep; a sweep of the same name goes on where it stopped. By default it follows from the search.
        dask: trials side by side: so many worker processes on this machine, or the address of a running cluster whose
            workers have this clone at the same path. In turn by default.
    """
    try:
        overrides = overrides or {}
        search.check_common(space, overrides)
        common = folders.settings(recipe, overrides)
        name = name or search.sweep_name(space, method, trials, seed, common)
        origin = [folders.head(), common]
        chosen = search.plan(
            name, space, search.base(common), method=method, trials=trials, seed=seed, common=origin
        )
        settings = {"method": method, "trials": len(chosen), "seed": seed, "recipe": recipe, **space}
        begun = sweeps.begin(name, search.digest([name, space, method, trials, seed, origin]), settings)
        ...
    except FeropsError as error:
        return Failed(message=str(error))
