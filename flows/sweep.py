"""Flow `sweep`: search over the parameters with Optuna, each trial a DVC experiment.

    python flows/sweep.py --over train.learning_rate=0.0001,0.0003 --over model.dropout=0.2,0.4

Every trial starts from the clone's commit, in a git worktree of its own, and is scored on validation alone. Started
again, a sweep goes on with the trials that are missing. They run in turn, or side by side as tasks of a Dask cluster.
"""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from prefect import State, flow, get_run_logger, runtime
from prefect.states import Failed

from ferops.errors import FeropsError
from ferops.orchestration import markdown, notifications, side_by_side, terminal
from ferops.orchestration.pipeline import run_folders
from ferops.orchestration.sweeps import search_space, studies, sweep_report
from ferops.orchestration.sweeps import trials as trial_runs
from ferops.orchestration.sweeps.search_space import Method
from ferops.orchestration.sweeps.studies import SweepStudy
from ferops.tracking import runs
from ferops.tracking.runs import SweepRun


@flow(
    retries=0,
    flow_run_name=run_folders.named_by("name", "method", "recipe"),
    on_failure=[notifications.failed],
    on_crashed=[notifications.failed],
)
def sweep(
    space: dict[str, Any],
    method: Method | None = None,
    trials: int | None = None,
    seed: int = 0,
    prune: bool = False,
    recipe: str | None = None,
    overrides: dict[str, Any] | None = None,
    name: str | None = None,
    dask: int | str | None = None,
    notify: str | None = None,
) -> State:
    """Search parameters: every trial is a DVC experiment, scored on validation and never on test.

    Args:
        space: dotted keys and the values to try, as in {"train.learning_rate": [0.0001, 0.0003]}, or, for random and
            tpe, ranges, as in {"train.learning_rate": {"min": 1e-5, "max": 1e-3, "log": true}}.
        method: grid tries every combination; random samples; tpe samples where the trials before were good (the
            tree-structured Parzen estimator). By default tpe where the space has a range, else grid.
        trials: how many different ones, for random and tpe.
        seed: of random and tpe.
        prune: end a training after an epoch where its accuracy on validation is below the median of the other trials.
        recipe: a file of recipes/, for all trials.
        overrides: single parameters for all trials, by their dotted keys.
        name: of the sweep, and the first part of its experiments' names; by default it follows from the search.
        dask: for trials side by side, the number of worker processes on this machine, or the address of a running
            cluster whose workers see this clone at the same path on a shared file system. In turn by default.
        notify: a notification block of Prefect, as in slack-webhook/team, that is notified of a failure.
    """
    try:
        notifications.check(notify)
        runner = side_by_side.task_runner(dask, __name__)
        search = search_space.plan(
            space, name=name, method=method, trials=trials, seed=seed, recipe=recipe, overrides=overrides or {}
        )
        with studies.opened(search, prune=prune) as study:
            settings = {"method": search.method, "seed": seed, "prune": prune, "recipe": recipe, **space}
            sweep_run = runs.begin_sweep(search.name, search.key, settings, "flows/sweep.py")
            get_run_logger().info(f"{search.trials} trials, of which {len(study.ended())} are there already")
            for result in trial_runs.run(study.ask(), sweep_run, runner):
                study.tell(result)
            return _show(study, sweep_run)
    except FeropsError as error:
        return Failed(message=str(error))


def _show(study: SweepStudy, sweep_run: SweepRun) -> State:
    """Publish table and plots in Prefect and in the sweep's run in MLflow, print the table; return the flow's state."""
    results = study.results()
    cells = sweep_report.cells(results)
    page = markdown.table(*cells)
    with tempfile.TemporaryDirectory() as scratch:
        files = [Path(scratch, f"sweep.{kind}") for kind in ("csv", "md")]
        sweep_report.table(results).to_csv(files[0], index=False)
        files[1].write_text(f"{page}\n", encoding="utf-8")
        files += sweep_report.draw(Path(scratch), study)
        name = f"{results[0].accuracy:.4f}, `dvc exp apply {results[0].trial.name}`"
        state = trial_runs.conclude(sweep_run, "sweep", page, files, results, name)
    if not runtime.deployment.id:
        terminal.table(*cells, unbroken="experiment")
    return state


def main(
    over: Annotated[
        list[str],
        typer.Option(
            help="What to search: model.dropout=0.2,0.4 or, with --trials, 'train.learning_rate=1e-5..1e-3 log'."
        ),
    ],
    method: Annotated[
        Method | None, typer.Option(help="By default grid, every combination; tpe where there is a range.")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="How many, for random and tpe.")] = None,
    seed: Annotated[int, typer.Option(help="Of random and tpe.")] = 0,
    prune: Annotated[
        bool, typer.Option("--prune", help="End trainings that are worse than the median of the others.")
    ] = False,
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
        space=terminal.assignments(over, search_space.choices),
        method=method,
        trials=trials,
        seed=seed,
        prune=prune,
        recipe=recipe,
        overrides=terminal.assignments(overrides or []),
        name=name,
        dask=dask,
    )


if __name__ == "__main__":
    terminal.command(
        main, "python flows/sweep.py --over train.learning_rate=0.0001,0.0003 --over model.dropout=0.2,0.4"
    )
