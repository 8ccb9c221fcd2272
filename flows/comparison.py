"""Flow `comparison`: the systems of the paper's Table 3, or its choices one by one, trained on one budget.

    python flows/comparison.py table3 --epochs 1 --subset mini
    python flows/comparison.py ablations --minutes 30

Each row is a trial, like those of a sweep: a DVC experiment from the clone's commit, scored on validation alone, and
not run again where it has finished. From a terminal the flow writes the table and its plot into reports/.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from prefect import State, flow, runtime
from prefect.states import Failed

from ferops.errors import FeropsError
from ferops.orchestration import notifications, terminal
from ferops.orchestration.pipeline import run_folders
from ferops.orchestration.sweeps import comparison_report, comparison_tables, experiments, trials
from ferops.orchestration.sweeps.comparison_report import Rows
from ferops.orchestration.sweeps.comparison_tables import ComparisonRequest, Name, Subset
from ferops.tracking import runs
from ferops.tracking.runs import SweepRun

REPORTS = Path("reports")


@flow(
    retries=0,
    flow_run_name=run_folders.named_by("table"),
    on_failure=[notifications.failed],
    on_crashed=[notifications.failed],
)
def comparison(
    table: Name,
    epochs: int | None = None,
    minutes: float | None = None,
    subset: Subset | None = None,
    weights: str = comparison_tables.BASE,
    notify: str | None = None,
) -> State:
    """Train every row of a table with the same budget, and compare them by their figures on validation.

    Args:
        table: table3, the systems of the paper's Table 3 and ours, or ablations, the paper's choices one by one.
        epochs: of every training, at most; each recipe's own by default.
        minutes: of every training, at most.
        subset: mini (the file that FER2013_MINI names) or sample (synthetic faces); params.yaml's data by default.
        weights: initial weights of the systems on VGG16: a file, or imagenet, which is fetched.
        notify: a notification block of Prefect, as in slack-webhook/team, that is notified of a failure.
    """
    try:
        notifications.check(notify)
        request = ComparisonRequest(epochs, minutes, subset, weights)
        planned = comparison_tables.plan(table, request)
        titles = {trial.name: title for title, trial in planned.items()}
        name = run_folders.experiment_name(table, {"trials": list(titles)})
        settings = {"table": table, "trials": len(planned), **request._asdict()}
        sweep_run = runs.begin_sweep(name, name, settings, "flows/comparison.py")
        rows = {
            titles[result.trial.name]: result._replace(
                training=experiments.training(result.trial.name) if result.scores else {}
            )
            for result in experiments.ranked(trials.run(planned.values(), sweep_run))
        }
        return _show(table, request, rows, sweep_run)
    except FeropsError as error:
        return Failed(message=str(error))


def _show(table: Name, request: ComparisonRequest, rows: Rows, sweep_run: SweepRun) -> State:
    """Publish page and plot in Prefect and in the run in MLflow, into reports/ from a terminal; return the state."""
    results = list(rows.values())
    dataset = experiments.base(results[0].trial.settings).data.dataset
    page = comparison_report.page(table, request, dataset, rows)
    title = comparison_report.TITLES[table]
    with tempfile.TemporaryDirectory() as scratch:
        files = [Path(scratch, f"{table}.md")]
        link = ""
        if results[0].scores:
            files.append(Path(scratch, f"{table}.png"))
            comparison_report.draw(files[1], rows, f"{title}, on {comparison_report.where(request, dataset)}")
            link = f"\n![{title}]({files[1].name})\n"
        files[0].write_text(f"{page}\n{link}", encoding="utf-8")
        best = f"{next(iter(rows))}, {results[0].accuracy:.4f}"
        state = trials.conclude(sweep_run, table, page, files, results, best)
        if not runtime.deployment.id:
            for file in files:
                shutil.copy(file, REPORTS / file.name)
            terminal.table(*comparison_report.cells(rows, is_brief=True), unbroken="")
            print("written:", *(REPORTS / file.name for file in files))
    return state


def main(
    table: Annotated[Name, typer.Argument(help="The paper's Table 3, or the paper's choices one by one.")],
    epochs: Annotated[int | None, typer.Option(help="Of every training; each recipe's own by default.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Of every training, at most.")] = None,
    subset: Annotated[
        Subset | None,
        typer.Option(
            help="mini: the file that FER2013_MINI names; sample: synthetic faces. By default params.yaml's data."
        ),
    ] = None,
    weights: Annotated[
        str,
        typer.Option(
            help="VGG16 weights that systems on it start from: a file or, with network to fetch it, imagenet."
        ),
    ] = comparison_tables.BASE,
) -> None:
    """Train the rows of a table, as a Prefect flow. No server is needed; run it again to go on."""
    # a mistake is reported before a server starts
    comparison_tables.plan(table, ComparisonRequest(epochs, minutes, subset, weights))
    terminal.main(comparison, table=table, epochs=epochs, minutes=minutes, subset=subset, weights=weights)


if __name__ == "__main__":
    terminal.command(main, "python flows/comparison.py table3 --epochs 1 --subset mini")
