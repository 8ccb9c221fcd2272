"""Flow `training`: the stages of dvc.yaml as Prefect tasks, in DVC's own order.

    python flows/training.py

What has to run is DVC's decision; Prefect shows each stage as ran, cached or failed.
"""

import subprocess
import sys
from graphlib import TopologicalSorter

from dvc.repo import Repo
from dvc.stage import PipelineStage
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE


class StageFailed(Exception):
    """A stage ended with an error; its lines are in the task's log."""


def stages() -> list[str]:
    """Names of dvc.yaml's stages, each after those whose outputs it reads."""
    with Repo() as repo:
        graph = repo.index.graph
        pipeline = [stage for stage in graph if isinstance(stage, PipelineStage)]
        reads = {
            stage.addressing: {other.addressing for other in graph.successors(stage) if other in pipeline}
            for stage in pipeline
        }
    return list(TopologicalSorter(reads).static_order())


@task(task_run_name="{stage}", cache_policy=NO_CACHE)
def reproduce(stage: str) -> str:
    """Bring one stage up to date, its lines streamed into the log.

    Returns:
        `ran` or `cached`.

    Raises:
        StageFailed: the stage or DVC ended with an error.
    """
    logger = get_run_logger()
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", stage]
    ran = False
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            ran |= line.startswith("Running stage")
            if line.strip():
                logger.info(line.rstrip())
    if process.returncode:
        raise StageFailed(f"{stage} exited {process.returncode}")
    return "ran" if ran else "cached"


@flow(name="training", log_prints=True)
def training() -> dict[str, str]:
    """Reproduce the pipeline in place, one task a stage.

    Returns:
        Each stage -> `ran` or `cached`.
    """
    done = {}
    for stage in stages():
        done[stage] = reproduce(stage)
        print(f"{stage}: {done[stage]}")
    return done


if __name__ == "__main__":
    training()
