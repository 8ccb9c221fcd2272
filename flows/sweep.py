"""Flow `sweep`: a grid or random search over the parameters, each trial a DVC experiment.

    python flows/sweep.py --over train.learning_rate=0.0001,0.0003 --over model.dropout=0.2,0.4

Every trial starts from the clone's commit, in a git worktree of its own, and is scored on validation alone. A finished
one is found by its name and not run again. Trials run in turn, or side by side as tasks of a Dask cluster.
"""

import logging
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from prefect import State, flow, get_run_logger, runtime, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Failed
from prefect.task_runners import TaskRunner
from rich.console import Console
from rich.table import Table

from ferops.errors import FeropsError
from ferops.orchestration import artifacts, coordinates, folders, notifications, pipeline, search, terminal
from ferops.orchestration.folders import Folder
from ferops.orchestration.search import Method, Outcome, Trial
from ferops.tracking import describe, sweeps
from ferops.tracking.identity import current_commit
from ferops.tracking.sweeps import Begun


class NoDask(FeropsError):
    """Trials cannot run side by side: prefect-dask is not installed, or no cluster is named."""


@task(task_run_name="{name}", cache_policy=NO_CACHE)
def run_trial(name: str, said: str, values: dict[str, Any], clone: str, sweep_run: str) -> State:
    """Run the pipeline with these parameters apart from the workspace, and keep the results as a DVC experiment."""
    log = get_run_logger().info
    log(said)
    os.chdir(clone)  # a Dask worker was started elsewhere
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


@flow(on_failure=[notifications.failed], on_crashed=[notifications.failed])
def sweep(
    space: dict[str, Any],
    method: Method = "grid",
    trials: int | None = None,
    seed: int = 0,
    recipe: str | None = None,
    overrides: dict[str, Any] | None = None,
    name: str | None = None,
    dask: int | str | None = None,
    notify: str | None = None,
) -> State:
    """Search parameters: every trial is a DVC experiment, scored on validation and never on test.

    Args:
        space: dotted keys and the values to try, as in {"train.learning_rate": [0.0001, 0.0003]}; random search also
            takes ranges, as in {"train.learning_rate": {"min": 1e-5, "max": 1e-3, "log": true}}.
        method: grid tries every combination, random as many as `trials` says.
        trials: how many, for random search.
        seed: of random search.
        recipe: a file of recipes/, for all trials.
        overrides: single parameters for all trials, by their dotted keys.
        name: of the sweep, and the first part of its experiments' names; by default it follows from the search.
        dask: for trials side by side, the number of worker processes on this machine, or the address of a running
            cluster whose workers see this clone at the same path on a shared file system. In turn by default.
        notify: a notification block of Prefect, as in slack-webhook/team, that hears of a failure.
    """
    try:
        notifications.check(notify)
        runner = _runner(dask)
        common = search.common(space, recipe, overrides or {})
        name = name or search.sweep_name(space, method, trials, seed, common)
        origin = [folders.head(), common]
        chosen = search.plan(name, space, search.base(common), method=method, trials=trials, seed=seed, common=origin)
        key = search.digest([name, space, method, trials, seed, origin])
        settings = {"method": method, "trials": len(chosen), "seed": seed, "recipe": recipe, **space}
        begun = sweeps.begin(name, key, settings)
        reasons = _run(chosen, recipe, overrides or {}, begun.run_id, runner)
        return _close(name, begun, chosen, reasons)
    except FeropsError as error:
        return Failed(message=str(error))


def _run(
    chosen: Sequence[Trial], recipe: str | None, overrides: Mapping[str, Any], sweep_run: str, runner: TaskRunner | None
) -> dict[str, str]:
    """Run the trials that have not finished; name of each that failed -> why."""
    log = get_run_logger().info
    published = sweeps.runs(trial.name for trial in chosen)
    missing = [trial for trial in chosen if trial.name not in published or not search.finished(trial.name)]
    log(f"{len(chosen)} trials, of which {len(chosen) - len(missing)} are there already")
    if (commit := current_commit()) and commit.dirty:
        log("there are changes that are not committed; the trials start from the commit, without them")
    given = [
        {
            "name": trial.name,
            "said": ", ".join(f"{key}={value}" for key, value in trial.values.items()),
            "values": folders.settings(recipe, {**overrides, **trial.values, search.CLOSED: False}),
            "clone": str(Path.cwd()),
            "sweep_run": sweep_run,
        }
        for trial in missing
    ]
    if runner is None:
        states = [run_trial(**parameters, return_state=True) for parameters in given]
    else:
        # a server that this process started is unknown to other processes, and each would start one of its own
        with get_client(sync_client=True) as client:
            url = str(client.api_url)
        with temporary_settings({PREFECT_API_URL: url}), runner:
            futures = [runner.submit(run_trial, parameters) for parameters in given]
            for future in futures:
                future.wait()
            states = [future.state for future in futures]
    return {
        trial.name: state.message or "the process that ran it was lost"
        for trial, state in zip(missing, states, strict=True)
        if not state.is_completed()
    }


def _close(name: str, begun: Begun, chosen: Sequence[Trial], reasons: Mapping[str, str]) -> State:
    """Table and picture, into Prefect and into the sweep's run in MLflow."""
    runs = sweeps.runs(trial.name for trial in chosen)
    outcomes = search.ranked(
        [
            Outcome(trial, None, reasons[trial.name])
            if trial.name in reasons
            else Outcome(trial, search.finished(trial.name), run_id=runs.get(trial.name, ""))
            for trial in chosen
        ]
    )
    done = [outcome for outcome in outcomes if outcome.scores]
    header, *rows = search.shown(outcomes)
    page = artifacts.table(header, rows)
    with tempfile.TemporaryDirectory() as scratch:
        files = [Path(scratch, f"sweep.{kind}") for kind in ("csv", "md", "png")]
        search.table(outcomes).to_csv(files[0], index=False)
        files[1].write_text(f"{page}\n", encoding="utf-8")
        if done:
            coordinates.draw(files[2], outcomes, name)
            create_markdown_artifact(
                artifacts.picture(files[2], name), key="sweep-picture", description="Parallel coordinates of the trials"
            )
        accuracy = done[0].accuracy if done else None
        sweeps.end(begun.run_id, [file for file in files if file.exists()], page, accuracy, len(outcomes) - len(done))
    create_markdown_artifact(page, key="sweep-trials", description="The trials, the best on validation first")
    create_link_artifact(begun.page, "the sweep in MLflow", key="sweep-run", description="The sweep in MLflow")
    if not runtime.deployment.id:
        _print(header, rows)
    told = f"{len(done)} of {len(outcomes)} trials" + (f"; {len(reasons)} failed" if reasons else "")
    if not done:
        return Failed(message=f"{told}: {outcomes[0].reason}")
    return Completed(
        message=f"{told}; the best on validation: {done[0].accuracy:.4f}, `dvc exp apply {done[0].trial.name}`"
    )


def _runner(dask: int | str | None) -> TaskRunner | None:
    """What runs trials side by side; None: they run in turn."""
    if dask is None:
        return None
    try:
        import cloudpickle
        from prefect_dask import DaskTaskRunner
    except ImportError:
        raise NoDask("prefect-dask is not installed: pip install prefect-dask (it is in the extra `team`)") from None
    logging.getLogger("distributed").setLevel(logging.WARNING)
    # a worker imports what it is sent by name, and this file is on no path there
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    if "://" in str(dask):
        return DaskTaskRunner(address=str(dask))
    if not str(dask).isdigit() or int(dask) < 1:
        raise NoDask(
            f"dask: expected a number of worker processes or an address as tcp://127.0.0.1:8786, found {dask!r}"
        )
    # nothing is heard beyond loopback; a trial is a process of its own, whose memory Dask does not see
    local = {
        "n_workers": int(dask), "threads_per_worker": 1, "processes": True, "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0", "memory_limit": 0,
    }  # fmt: skip
    return DaskTaskRunner(cluster_kwargs=local)


def _print(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table()
    for title in header:
        table.add_column(title, overflow="fold", no_wrap=title == "experiment")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def main(
    over: Annotated[
        list[str],
        typer.Option(
            help="What to search: model.dropout=0.2,0.4 or, with --random, 'train.learning_rate=1e-5..1e-3 log'."
        ),
    ],
    random: Annotated[int | None, typer.Option(help="Try so many combinations at random instead of all.")] = None,
    seed: Annotated[int, typer.Option(help="Of --random.")] = 0,
    recipe: Annotated[str | None, typer.Option(help="recipes/NAME.yaml for all trials.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter of all trials, as train.epochs=3; may be repeated.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the sweep; by default it follows from the search.")] = None,
    dask: Annotated[
        str | None, typer.Option(help="Side by side: a number of worker processes, or the address of a Dask cluster.")
    ] = None,
) -> None:
    """Search parameters of the pipeline, as a Prefect flow. No server is needed; run it again to go on."""
    terminal.main(
        sweep,
        space=dict(search.read(text) for text in over),
        method="grid" if random is None else "random",
        trials=random,
        seed=seed,
        recipe=recipe,
        overrides=terminal.assignments(overrides or []),
        name=name,
        dask=dask,
    )


if __name__ == "__main__":
    terminal.command(
        main, "python flows/sweep.py --over train.learning_rate=0.0001,0.0003 --over model.dropout=0.2,0.4"
    )
