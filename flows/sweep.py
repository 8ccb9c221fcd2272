"""Flow `sweep`: a grid or random search over the parameters, each trial a DVC experiment.

    python flows/sweep.py --over train.learning_rate=0.0001,0.0003 --over model.dropout=0.2,0.4

Every trial starts from the clone's commit, in a git worktree of its own, and is scored on validation alone. A finished
trial is found by its name and not run again. Trials run in turn, or side by side as tasks of a Dask cluster.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from prefect import State, flow, runtime
from prefect.states import Failed

from ferops.errors import FeropsError
from ferops.orchestration import markdown, notifications, terminal
from ferops.orchestration.pipeline import run_folders
from ferops.orchestration.sweeps import experiments, parallel_coordinates, search
from ferops.orchestration.sweeps import trials as trial_runs
from ferops.orchestration.sweeps.experiments import TrialResult
from ferops.orchestration.sweeps.search import Method
from ferops.tracking import runs
from ferops.tracking.runs import SweepRun


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
        notify: a notification block of Prefect, as in slack-webhook/team, that is notified of a failure.
    """
    try:
        notifications.check(notify)
        runner = trial_runs.side_by_side(dask, __name__)
        common = search.common(space, recipe, overrides or {})
        commit = run_folders.head()
        name = name or f"sweep-{search.digest([space, method, trials, seed, common])}"
        base = experiments.base(common)
        planned = search.plan(name, space, base, method=method, trials=trials, seed=seed, common=common, commit=commit)
        key = search.digest([name, space, method, trials, seed, commit, common])
        settings = {"method": method, "trials": len(planned), "seed": seed, "recipe": recipe, **space}
        sweep_run = runs.begin_sweep(name, key, settings, "flows/sweep.py")
        results = trial_runs.run(planned, sweep_run, runner)
        _show(name, sweep_run, results)
        best = results[0]
        return trial_runs.final_state(results, "trials", f"{best.accuracy:.4f}, `dvc exp apply {best.trial.name}`")
    except FeropsError as error:
        return Failed(message=str(error))


def _show(name: str, sweep_run: SweepRun, results: Sequence[TrialResult]) -> None:
    """Publish table and plot in Prefect and in the sweep's run in MLflow; print the table in a terminal."""
    header, *rows = search.cells(results)
    page = markdown.table(header, rows)
    with tempfile.TemporaryDirectory() as scratch:
        files = [Path(scratch, f"sweep.{kind}") for kind in ("csv", "md", "png")]
        search.table(results).to_csv(files[0], index=False)
        files[1].write_text(f"{page}\n", encoding="utf-8")
        if results[0].scores:
            parallel_coordinates.draw(files[2], results, name)
        trial_runs.show(sweep_run, "sweep", page, [file for file in files if file.exists()], results)
    if not runtime.deployment.id:
        terminal.table(header, rows, unbroken="experiment")


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
