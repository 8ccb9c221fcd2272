"""Run the trials of sweeps and comparisons: each is the whole pipeline in a git worktree, saved as a DVC experiment.

They run in turn, or side by side as tasks of a Dask cluster. A finished trial is found by its name and not run again.
"""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from ferops.orchestration.sweeps.experiments import Trial, TrialResult
from ferops.tracking import record, runs
from ferops.tracking.lineage import current_commit
from ferops.tracking.runs import SweepRun


class NoDask(FeropsError):
    """Trials cannot run side by side: prefect-dask is not installed, or no cluster is named."""


@task(task_run_name="{name}", cache_policy=NO_CACHE)
def run_trial(name: str, values: dict[str, Any], settings: dict[str, Any], clone: str, sweep_run: str) -> State:
    """Run the pipeline with these parameters in a git worktree, and save the results as a DVC experiment."""
    log = get_run_logger().info
    log(", ".join(f"{key}={value}" for key, value in values.items()))
    os.chdir(clone)  # a Dask worker was started elsewhere
    try:
        with run_folders.isolated(settings, name, is_experiment=True) as worktree:
            folder = Folder(worktree.path, {**worktree.environment, record.SWEEP_RUN: sweep_run})
            dvc_stages.pull(folder, log)
            changed = dvc_stages.changed(folder)
            ran: set[str] = set()
            for stage, reads in dvc_stages.stages(folder.path).items():
                if (stage in changed or reads & ran) and dvc_stages.reproduce(folder, stage, log).state == "ran":
                    ran.add(stage)
            dvc_stages.save_experiment(folder, name, log)
    except FeropsError as error:
        return Failed(message=str(error))
    return Completed()


def run(trials: Sequence[Trial], sweep_run: SweepRun, runner: TaskRunner | None = None) -> list[TrialResult]:
    """Run the trials that have not finished, and return the results of all, the best on validation first.

    Args:
        trials: all of them.
        sweep_run: the parent of their MLflow runs.
        runner: runs them side by side; in turn by default.
    """
    log = get_run_logger().info
    published = runs.of_experiments(trial.name for trial in trials)
    missing = [trial for trial in trials if trial.name not in published or not experiments.scores(trial.name)]
    log(f"{len(trials)} trials, of which {len(trials) - len(missing)} are there already")
    if (commit := current_commit()) and commit.is_dirty:
        log("there are changes that are not committed; the trials start from the commit, without them")
    arguments = [{**trial._asdict(), "clone": str(Path.cwd()), "sweep_run": sweep_run.run_id} for trial in missing]
    reasons = {
        trial.name: state.message or "the process that ran it was lost"
        for trial, state in zip(missing, _states(arguments, runner), strict=True)
        if not state.is_completed()
    }
    run_ids = runs.of_experiments(trial.name for trial in trials)
    return experiments.ranked(
        TrialResult(trial, None, reasons[trial.name])
        if trial.name in reasons
        else TrialResult(trial, experiments.scores(trial.name), run_id=run_ids.get(trial.name, ""))
        for trial in trials
    )


def show(sweep_run: SweepRun, prefix: str, page: str, files: Sequence[Path], results: Sequence[TrialResult]) -> None:
    """Publish the results as artifacts in Prefect and in the parent run in MLflow, and end that run.

    Args:
        sweep_run: the parent of the trials' runs.
        prefix: of the names of Prefect's artifacts.
        page: the table, in Markdown.
        files: artifacts of the run; a PNG is shown in Prefect too.
        results: of all trials.
    """
    accuracies = [result.accuracy for result in results if result.scores]
    runs.end_sweep(sweep_run.run_id, files, page, max(accuracies, default=None), len(results) - len(accuracies))
    create_markdown_artifact(page, key=f"{prefix}-trials", description="The trials, the best on validation first")
    for file in files:
        if file.suffix == ".png":
            create_markdown_artifact(
                markdown.picture(file.read_bytes(), prefix),
                key=f"{prefix}-picture",
                description="The trials as a picture",
            )
    create_link_artifact(
        sweep_run.page, "the trials in MLflow", key=f"{prefix}-run", description="The trials in MLflow"
    )


def final_state(results: Sequence[TrialResult], unit: str, name: str) -> State:
    """Return the state in which a flow ends: failed where no trial succeeded, else with the best in its message.

    Args:
        results: ranked.
        unit: what the trials are called, as in `3 of 4 rows`.
        name: of the best one.
    """
    best, done = results[0], sum(bool(result.scores) for result in results)
    failed = len(results) - done
    counts = f"{done} of {len(results)} {unit}" + (f"; {failed} failed" if failed else "")
    if not done:
        return Failed(message=f"{counts}: {best.reason}")
    return Completed(message=f"{counts}; the best on validation: {name}")


def side_by_side(dask: int | str | None, flow: str) -> TaskRunner | None:
    """Return the task runner of a Dask cluster; None without one: the trials run in turn.

    Args:
        dask: a number of worker processes on this machine, or the address of a running cluster.
        flow: name of the flow's module.

    Raises:
        NoDask: prefect-dask is not installed, or `dask` is neither.
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
    # it listens on loopback alone; a trial is a process of its own, whose memory Dask does not see
    local = {
        "n_workers": int(dask), "threads_per_worker": 1, "processes": True, "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0", "memory_limit": 0,
    }  # fmt: skip
    return DaskTaskRunner(cluster_kwargs=local)


def _states(arguments: Sequence[dict[str, Any]], runner: TaskRunner | None) -> list[State]:
    if runner is None:
        return [run_trial(**each, return_state=True) for each in arguments]
    # the temporary server of this process is unknown to other processes, and each would start its own
    with get_client(sync_client=True) as client:
        url = str(client.api_url)
    with temporary_settings({PREFECT_API_URL: url}), runner:
        futures = [runner.submit(run_trial, each) for each in arguments]
        for future in futures:
            future.wait()
        return [future.state for future in futures]
