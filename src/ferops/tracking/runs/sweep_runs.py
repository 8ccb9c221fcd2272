"""The parent run of a sweep or comparison, above its trials' runs: search space, table, picture, best accuracy."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from ferops.tracking import store
from ferops.tracking.lineage.identity import current_commit
from ferops.tracking.queries import search_runs
from ferops.tracking.registry import mutex
from ferops.tracking.runs import describe
from ferops.tracking.runs.run_log import Epoch, log_epochs, log_params, logged_epochs, milliseconds
from ferops.tracking.tags import EXPERIMENTS, SWEEP, SWEEP_KEY

BEST: Final = "sweep/val/accuracy"
"""Metric of the sweep's run: the best trial's final accuracy on validation."""

TRIAL: Final = "ferops.trial"
"""Tag of the run of a trial that was pruned."""

_WAIT: Final = 30.0  # seconds to wait for another process that opens the same sweep
_MAX_LENGTH: Final = 500  # characters of a param: the lowest limit among MLflow's versions


class SweepRun(NamedTuple):
    """The open run of a sweep: its id, and the address of its page."""

    run_id: str
    page: str


def begin(name: str, key: str, settings: Mapping[str, Any], source: str) -> SweepRun:
    """Create the run of a sweep, or reopen the run of the same sweep.

    Args:
        name: of the sweep.
        key: tells it from other sweeps of the same name: hash of search space and commit.
        settings: search space and method; the run's params.
        source: the flow's file.

    Returns:
        Its id, which the environment variable `describe.SWEEP_RUN` hands to the stages of each trial, and its page.

    Raises:
        TrackingUnreachable, TrackingFailed: the store does not answer, or refuses a request.
        Busy: another process opens the same sweep.
    """
    with store.session() as opened, mutex.lock(opened, f"sweep-{key[:16]}", "opening this sweep", wait=_WAIT):
        found = search_runs(opened, f"tags.`{SWEEP_KEY}` = '{key}'")
        if found:
            run = found[-1]
            opened.client.update_run(run.info.run_id, status="RUNNING")
        else:
            tags = {
                **describe.run_tags(current_commit(), None),
                "mlflow.source.name": source,
                SWEEP: name,
                SWEEP_KEY: key,
            }
            with store.no_retries():
                run = opened.client.create_run(opened.experiment_id, milliseconds(time.time()), tags, name)
            log_params(opened.client, run, {key: str(value)[:_MAX_LENGTH] for key, value in settings.items()})
        return SweepRun(str(run.info.run_id), store.page(opened, run.info.run_id))


def runs(experiments: Iterable[str]) -> dict[str, str]:
    """Return the ids of the finished runs of DVC experiments, by name; experiments without one are left out."""
    wanted = set(experiments)
    found: dict[str, str] = {}
    with store.session() as opened:
        finished = search_runs(opened, f"tags.`{EXPERIMENTS}` LIKE '%' and attributes.status = 'FINISHED'")
    for run in reversed(finished):
        found |= dict.fromkeys(wanted & set(run.data.tags[EXPERIMENTS].split(",")), str(run.info.run_id))
    return found


def end_pruned(experiment: str, history: Iterable[Mapping[str, float]]) -> None:
    """End the open run of a pruned trial as KILLED, the nearest that MLflow has; its tag `TRIAL` says `PRUNED`.

    Args:
        experiment: name of the trial's DVC experiment.
        history: its epochs, as in the checkpoint; those that the run lacks are logged.
    """
    epochs = [
        Epoch(int(row["epoch"]), {name: value for name, value in row.items() if "/" in name}, row["time"])
        for row in history
    ]
    with store.session() as opened:
        client = opened.client
        for run in search_runs(opened, f"tags.`{EXPERIMENTS}` = '{experiment}' and attributes.status = 'RUNNING'"):
            logged = logged_epochs(client, run)
            log_epochs(client, run.info.run_id, (epoch for epoch in epochs if epoch.epoch not in logged))
            client.set_tag(run.info.run_id, TRIAL, "PRUNED")
            client.set_terminated(run.info.run_id, "KILLED")


def end(run_id: str, files: Iterable[Path], note: str, best: float | None, failed: int) -> None:
    """Log the result of a sweep and end its run; the result of an earlier part of the sweep is replaced.

    Args:
        run_id: of the sweep.
        files: its artifacts.
        note: its description, in Markdown.
        best: the best accuracy on validation; None where no trial succeeded, which ends the run as FAILED.
        failed: number of failed trials.
    """
    with store.session() as opened:
        client = opened.client
        for file in files:
            client.log_artifact(run_id, str(file))
        client.set_tag(run_id, "mlflow.note.content", note)
        client.log_metric(run_id, "sweep/failed", failed)
        if best is not None:
            client.log_metric(run_id, BEST, best)
        client.set_terminated(run_id, "FAILED" if best is None else "FINISHED")
