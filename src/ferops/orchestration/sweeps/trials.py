"""Trials of sweeps and comparisons: each is the whole pipeline, apart from the workspace, kept as a DVC experiment.

They run in turn, or side by side as tasks of a Dask cluster. A finished one is found by its name and not run again.
"""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from prefect import State, get_run_logger, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Failed
from prefect.task_runners import TaskRunner

from ferops.errors import FeropsError
from ferops.orchestration import markdown
from ferops.orchestration.pipeline import dvc_stages, run_folders
from ferops.orchestration.pipeline.run_folders import Folder
from ferops.orchestration.sweeps import experiments
from ferops.orchestration.sweeps.experiments import TrialResult
from ferops.tracking.lineage.identity import current_commit
from ferops.tracking.runs import describe, sweep_runs
from ferops.tracking.runs.sweep_runs import SweepRun


class NoDask(FeropsError):
    """Trials cannot run side by side: prefect-dask is not installed, or no cluster is named."""


class TrialSpec(NamedTuple):
    """A trial to run: name of its DVC experiment, what its log says of it, its parameters nested as in params.yaml."""

    name: str
    said: str
    values: dict[str, Any]


@task(task_run_name="{name}", cache_policy=NO_CACHE)
def run_trial(name: str, said: str, values: dict[str, Any], clone: str, parent: str) -> State:
    """Run the pipeline with these parameters apart from the workspace, and keep the results as a DVC experiment."""
    log = get_run_logger().info
    log(said)
    os.chdir(clone)  # a Dask worker was started elsewhere
    try:
        with run_folders.apart(values, name, is_experiment=True) as place:
            folder = Folder(place.path, {**place.environment, describe.SWEEP_RUN: parent})
            dvc_stages.pull(folder, log)
            stale = dvc_stages.stale(folder)
            ran: set[str] = set()
            for stage, reads in dvc_stages.stages(folder.path).items():
                if (stage in stale or reads & ran) and dvc_stages.reproduce(folder, stage, log).how == "ran":
                    ran.add(stage)
            dvc_stages.keep(folder, name, log)
    except FeropsError as error:
        return Failed(message=str(error))
    return Completed()


def run(planned: Sequence[TrialSpec], parent: str, runner: TaskRunner | None = None) -> list[TrialResult]:
    """Run the trials that have not finished; how each ended, in their order.

    Args:
        planned: all of them.
        parent: the MLflow run above theirs.
        runner: what runs them side by side; in turn by default.
    """
    log = get_run_logger().info
    published = sweep_runs.runs(trial.name for trial in planned)
    missing = [trial for trial in planned if trial.name not in published or not experiments.finished(trial.name)]
    log(f"{len(planned)} trials, of which {len(planned) - len(missing)} are there already")
    if (commit := current_commit()) and commit.dirty:
        log("there are changes that are not committed; the trials start from the commit, without them")
    given = [{**trial._asdict(), "clone": str(Path.cwd()), "parent": parent} for trial in missing]
    reasons = {
        trial.name: state.message or "the process that ran it was lost"
        for trial, state in zip(missing, _states(given, runner), strict=True)
        if not state.is_completed()
    }
    runs = sweep_runs.runs(trial.name for trial in planned)
    return [
        TrialResult(None, reasons[name])
        if name in reasons
        else TrialResult(experiments.finished(name), run_id=runs.get(name, ""))
        for name, *_ in planned
    ]


def show(begun: SweepRun, prefix: str, page: str, files: Sequence[Path], ended: Sequence[TrialResult]) -> None:
    """Show how trials ended in Prefect and in the MLflow run above theirs, which is closed.

    Args:
        begun: that run.
        prefix: of the names of Prefect's artifacts.
        page: what there is to say, in Markdown.
        files: artifacts of the run; a PNG is shown in Prefect too.
        ended: of all trials.
    """
    accuracies = [one.accuracy for one in ended if one.scores]
    sweep_runs.end(begun.run_id, files, page, max(accuracies, default=None), len(ended) - len(accuracies))
    create_markdown_artifact(page, key=f"{prefix}-trials", description="The trials, the best on validation first")
    for file in files:
        if file.suffix == ".png":
            create_markdown_artifact(
                markdown.picture(file.read_bytes(), prefix),
                key=f"{prefix}-picture",
                description="The trials as a picture",
            )
    create_link_artifact(begun.page, "the trials in MLflow", key=f"{prefix}-run", description="The trials in MLflow")


def side_by_side(dask: int | str | None, flow: str) -> TaskRunner | None:
    """A Dask cluster for trials; None, in turn, where none is asked for.

    Args:
        dask: so many worker processes of this machine, or the address of a running cluster.
        flow: name of the flow's module.

    Raises:
        NoDask: prefect-dask is not installed, or it is neither.
    """
    if dask is None:
        return None
    try:
        import cloudpickle  # type: ignore[import-untyped]
        from prefect_dask import DaskTaskRunner  # type: ignore[attr-defined]
    except ImportError:
        raise NoDask("prefect-dask is not installed: pip install prefect-dask (it is in the extra `team`)") from None
    logging.getLogger("distributed").setLevel(logging.WARNING)
    # a task takes its flow along, which a worker would import by name, and flows/ is on no path there
    cloudpickle.register_pickle_by_value(sys.modules[flow])
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


def _states(given: Sequence[dict[str, Any]], runner: TaskRunner | None) -> list[State]:
    if runner is None:
        return [run_trial(**parameters, return_state=True) for parameters in given]
    # a server that this process started is unknown to other processes, and each would start one of its own
    with get_client(sync_client=True) as client:
        url = str(client.api_url)
    with temporary_settings({PREFECT_API_URL: url}), runner:
        futures = [runner.submit(run_trial, parameters) for parameters in given]
        for future in futures:
            future.wait()
        return [future.state for future in futures]
