"""Run the trials of sweeps and comparisons: each is the whole pipeline in a git worktree, saved as a DVC experiment.

They run in turn, or side by side as tasks of a Dask cluster.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from prefect import State, get_run_logger, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import TaskRunner

from ferops.errors import FeropsError
from ferops.machine.files import SCRATCH
from ferops.orchestration import markdown, side_by_side
from ferops.orchestration.pipeline import dvc_stages, run_folders
from ferops.orchestration.sweeps import experiments
from ferops.orchestration.sweeps.experiments import Trial, TrialResult
from ferops.orchestration.sweeps.studies import Pruned
from ferops.tracking import record, runs
from ferops.tracking.lineage import current_commit

PRUNED: Final = "Pruned"
"""Name of the state in which the task of a pruned trial ends."""


@task(task_run_name="{trial.name}", cache_policy=NO_CACHE, retries=0)
def run_trial(trial: Trial, clone: str, sweep_run: str) -> State:
    """Run the pipeline with a trial's parameters in a git worktree, and save the results as a DVC experiment.

    A trial that is pruned leaves its epochs in MLflow, and neither an experiment nor an entry in DVC's run cache.
    """
    log = get_run_logger().info
    log(", ".join(f"{key}={value}" for key, value in trial.values.items()))
    os.chdir(clone)  # a Dask worker was started elsewhere
    try:
        with run_folders.isolated(trial.settings, trial.name, is_experiment=True) as folder:
            folder = folder._replace(environment={**folder.environment, record.SWEEP_RUN: sweep_run})
            dvc_stages.pull(folder, log)
            on_line = trial.watch(folder.path, log) if trial.watch else log
            try:
                dvc_stages.dvc(folder, on_line, "repro")
            except Pruned as ended:
                runs.end_pruned(trial.name, ended.history)
                for checkpoints in (folder.path / SCRATCH).iterdir():
                    shutil.rmtree(checkpoints)
                return Cancelled(name=PRUNED, message=str(ended))
            dvc_stages.save_experiment(folder, trial.name, log)
    except FeropsError as error:
        return Failed(message=str(error))
    return Completed()


def run(trials: Iterable[Trial], sweep_run: runs.SweepRun, runner: TaskRunner | None = None) -> Iterator[TrialResult]:
    """Run trials as they are given, and yield the result of each as it ends; a finished one is not run again.

    Args:
        trials: the next one is only asked for when it can be run.
        sweep_run: the parent of their MLflow runs.
        runner: of `side_by_side.task_runner`; in turn by default.
    """
    if (commit := current_commit()) and commit.is_dirty:
        get_run_logger().info("the trials start from the commit, without the changes that are not committed")
    common = {"clone": str(Path.cwd()), "sweep_run": sweep_run.run_id}

    def arguments(trial: Trial) -> dict[str, Any] | None:
        return None if experiments.finished([trial.name]) else {"trial": trial, **common}

    for trial, state in side_by_side.run(run_trial, trials, arguments, runner):
        yield _result(trial, state)


def conclude(
    sweep_run: runs.SweepRun, prefix: str, page: str, files: Sequence[Path], results: Sequence[TrialResult], best: str
) -> State:
    """Publish the results as artifacts in Prefect and in the parent run in MLflow, and end that run.

    Args:
        sweep_run: the parent of the trials' runs.
        prefix: of the names of Prefect's artifacts.
        page: the table, in Markdown.
        files: artifacts of the run; a PNG is shown in Prefect too.
        results: of all trials, ranked.
        best: the name of the best one.

    Returns:
        The state in which a flow ends: failed where no trial succeeded, else with the best in its message.
    """
    accuracies = [round(result.accuracy, 4) for result in results if result.scores]  # as in the trials' own runs
    pruned = sum(result.is_pruned for result in results)
    others = {"pruned": pruned, "failed": len(results) - len(accuracies) - pruned}
    runs.end_sweep(sweep_run.run_id, files, page, max(accuracies, default=None), others["failed"])
    create_markdown_artifact(page, key=f"{prefix}-trials", description="The trials, the best on validation first")
    for file in files:
        if file.suffix == ".png":
            key = f"{prefix}-{'picture' if file.stem == prefix else file.stem}"
            picture = markdown.picture(file.read_bytes(), prefix)
            create_markdown_artifact(picture, key=key, description="The trials as a picture")
    create_link_artifact(sweep_run.page, "the trials in MLflow", key=f"{prefix}-run", description="The runs in MLflow")
    shares = [f"{len(accuracies)} of {len(results)} trials", *(f"{n} {what}" for what, n in others.items() if n)]
    if not accuracies:
        return Failed(message=f"{'; '.join(shares)}: {results[0].reason}")
    return Completed(message="; ".join([*shares, f"the best on validation: {best}"]))


def _result(trial: Trial, state: State | None) -> TrialResult:
    """Return the result of a trial by the state of its task; None: it had finished before."""
    if state is None or state.is_completed():
        run_ids = runs.of_experiments([trial.name])
        return TrialResult(trial, experiments.scores(trial.name), run_id=run_ids.get(trial.name, ""))
    reason = state.message or "the process that ran it was lost"
    return TrialResult(trial, None, reason, is_pruned=state.name == PRUNED)
