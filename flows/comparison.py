"""Flow `comparison`: the systems of the paper's Table 3, or its choices one by one, trained on one budget.

    python flows/comparison.py table3 --epochs 1 --subset mini
    python flows/comparison.py ablations --minutes 30

A row is a trial as those of a sweep: a DVC experiment from the clone's commit, scored on validation alone, found by its
name where it has finished. From a terminal the table and its picture are written into reports/.
"""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from prefect import State, flow, runtime
from prefect.states import Completed, Failed

from ferops.errors import FeropsError
from ferops.orchestration import notifications, terminal
from ferops.orchestration.pipeline import run_folders
from ferops.orchestration.sweeps import comparison_report, comparison_tables, experiments, interval_plot, trials
from ferops.orchestration.sweeps.comparison_report import ComparisonRow
from ferops.orchestration.sweeps.comparison_tables import ComparisonRequest, Name, Subset
from ferops.orchestration.sweeps.trials import TrialSpec
from ferops.tracking.runs import sweep_runs
from ferops.tracking.runs.sweep_runs import SweepRun

REPORTS = Path("reports")


@flow(on_failure=[notifications.failed], on_crashed=[notifications.failed])
def comparison(
    table: Name,
    epochs: int | None = None,
    minutes: float | None = None,
    subset: Subset | None = None,
    weights: str = comparison_tables.BASE,
    notify: str | None = None,
) -> State:
    """Train every row of a table with the same budget, and show them side by side, by their figures on validation.

    Args:
        table: table3, the systems of the paper's Table 3 and ours, or ablations, the paper's choices one by one.
        epochs: of every training, at most; each recipe's own by default.
        minutes: of every training, at most.
        subset: mini (the file that FER2013_MINI names) or sample (synthetic faces); params.yaml's data by default.
        weights: where systems on VGG16 start: a file, or imagenet, which is fetched.
        notify: a notification block of Prefect, as in slack-webhook/team, that hears of a failure.
    """
    try:
        notifications.check(notify)
        asked = ComparisonRequest(epochs, minutes, subset, weights)
        return _compare(table, asked, comparison_tables.plan(table, asked))
    except FeropsError as error:
        return Failed(message=str(error))


def _compare(table: Name, asked: ComparisonRequest, planned: Sequence[TrialSpec]) -> State:
    """Run the trials that have not finished, and show them all."""
    dataset = experiments.base(planned[0].values).data.dataset
    name = run_folders.name_of(table, {"trials": [trial.name for trial in planned]})
    settings = {"table": table, "trials": len(planned), **asked._asdict()}
    begun = sweep_runs.begin(name, name, settings, "flows/comparison.py")
    ended = trials.run(planned, begun.run_id)
    rows = comparison_report.ranked(
        ComparisonRow(row, how, experiments.training(trial.name) if how.scores else {})
        for row, trial, how in zip(comparison_tables.TABLES[table], planned, ended, strict=True)
    )
    _show(
        table, rows, comparison_report.page(table, asked, dataset, rows), comparison_report.where(asked, dataset), begun
    )
    done = sum(bool(one.ended.scores) for one in rows)
    told = f"{done} of {len(rows)} rows" + (f"; {len(rows) - done} failed" if done < len(rows) else "")
    best = rows[0]
    if not done:
        return Failed(message=f"{told}: {best.ended.reason}")
    return Completed(message=f"{told}; the best on validation: {best.row.title}, {best.ended.accuracy:.4f}")


def _show(table: Name, rows: Sequence[ComparisonRow], page: str, where: str, begun: SweepRun) -> None:
    """Page and picture, into Prefect, into the run above the trials in MLflow, and from a terminal into reports/."""
    title = comparison_report.TITLES[table]
    with tempfile.TemporaryDirectory() as scratch:
        files = [Path(scratch, f"{table}.md")]
        link = ""
        if rows[0].ended.scores:
            files.append(Path(scratch, f"{table}.png"))
            interval_plot.draw(files[1], rows, f"{title}, on {where}")
            link = f"\n![{title}]({files[1].name})\n"
        files[0].write_text(f"{page}\n{link}", encoding="utf-8")
        trials.show(begun, table, page, files, [one.ended for one in rows])
        if not runtime.deployment.id:
            for file in files:
                shutil.copy(file, REPORTS / file.name)
            header, *lines = comparison_report.brief(rows)
            terminal.table(header, lines, whole="")
            print("written:", *(REPORTS / file.name for file in files))


def main(
    table: Annotated[Name, typer.Argument(help="The paper's Table 3, or the paper's choices one by one.")],
    epochs: Annotated[
        int | None,
        typer.Option(parser=terminal.number("epochs", int), help="Of every training; each recipe's own by default."),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(parser=terminal.number("minutes", float), help="Of every training, at most.")
    ] = None,
    subset: Annotated[
        Subset | None,
        typer.Option(
            parser=comparison_tables.subset,
            help="mini: the file that FER2013_MINI names; sample: synthetic faces. By default params.yaml's data.",
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
    comparison_tables.plan(
        table, ComparisonRequest(epochs, minutes, subset, weights)
    )  # a mistake is told before a server starts
    terminal.main(comparison, table=table, epochs=epochs, minutes=minutes, subset=subset, weights=weights)


if __name__ == "__main__":
    terminal.command(main, "python flows/comparison.py table3 --epochs 1 --subset mini")
