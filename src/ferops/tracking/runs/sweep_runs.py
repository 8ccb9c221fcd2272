"""One run above the runs of a sweep's or a comparison's trials: what was tried, table, picture, best accuracy."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ferops.tracking import store
from ferops.tracking.lineage.identity import current_commit
from ferops.tracking.registry import mutex
from ferops.tracking.runs import describe
from ferops.tracking.runs.live import milliseconds
from ferops.tracking.store import Store
from ferops.tracking.tags import EXPERIMENTS, SWEEP, SWEEP_KEY

if TYPE_CHECKING:
    from mlflow.entities import Run

BEST: Final = "sweep/val/accuracy"
"""Metric of the sweep's run: the best trial's final accuracy on validation."""

_PATIENCE: Final = 30.0  # seconds to wait for another process that opens the same sweep
_MOST: Final = 500  # characters of a param: MLflow's oldest limit


class SweepRun(NamedTuple):
    """The open run of a sweep: its id, and the address of its page."""

    run_id: str
    page: str


def begin(name: str, key: str, settings: Mapping[str, Any], source: str) -> SweepRun:
    """Open the run of a sweep: a new one, or the one that the same sweep began before.

    Args:
        name: of the sweep.
        key: what tells it from a sweep of the same name: hash of search and commit.
        settings: what is searched and how; the run's params.
        source: the flow's file.

    Returns:
        Its id, which the environment variable `describe.SWEEP_RUN` hands to the stages of each trial, and its page.

    Raises:
        TrackingUnreachable, TrackingFailed: the store does not answer, or refuses it.
        Busy: another process opens the same sweep.
    """
    from mlflow.entities import Param

    with store.session() as opened, mutex.lock(opened, f"sweep-{key[:16]}", "opening this sweep", wait=_PATIENCE):
        found = _search(opened, f"tags.`{SWEEP_KEY}` = '{key}'")
        if found:
            opened.client.update_run(found[0].info.run_id, status="RUNNING")
            return _begun(opened, found[0])
        tags = {
            **describe.run_tags(current_commit(), None),
            "mlflow.source.name": source,
            SWEEP: name,
            SWEEP_KEY: key,
        }
        with store.once():
            run = opened.client.create_run(opened.experiment_id, milliseconds(time.time()), tags, name)
        values = [Param(setting, str(value)[:_MOST]) for setting, value in settings.items()]
        opened.client.log_batch(run.info.run_id, params=values)
        return _begun(opened, run)


def runs(experiments: Iterable[str]) -> dict[str, str]:
    """DVC experiment -> id of its finished run, for those that the store has."""
    wanted = set(experiments)
    found: dict[str, str] = {}
    with store.session() as opened:
        for run in _search(opened, f"tags.`{EXPERIMENTS}` LIKE '%' and attributes.status = 'FINISHED'"):
            found |= dict.fromkeys(wanted & set(run.data.tags[EXPERIMENTS].split(",")), str(run.info.run_id))
    return found


def end(run_id: str, files: Iterable[Path], note: str, best: float | None, failed: int) -> None:
    """Close the run of a sweep with what it came to; whatever an earlier part of the sweep left is replaced.

    Args:
        run_id: of the sweep.
        files: its artifacts.
        note: its description, in Markdown.
        best: the best accuracy on validation; None where no trial succeeded, which ends the run as FAILED.
        failed: how many trials did.
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


def _begun(opened: Store, run: "Run") -> SweepRun:
    return SweepRun(str(run.info.run_id), store.page(opened, run.info.run_id))


def _search(opened: Store, filter_string: str) -> "list[Run]":
    found: list[Run] = []
    page = None
    while True:
        some = opened.client.search_runs([opened.experiment_id], filter_string, max_results=1000, page_token=page)
        found += some
        page = some.token
        if not page:
            return found
