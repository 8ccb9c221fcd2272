"""Flow `training`: the stages of dvc.yaml as Prefect tasks, in the order of `dvc repro`.

    python flows/training.py
    python flows/training.py --recipe demo --set train.epochs=3

DVC decides what has to run; Prefect shows each stage as ran, cached or failed. From a terminal the flow runs in the
workspace, as `dvc repro` does. As a deployment it runs in a git worktree of its own and saves the results as a DVC
experiment, so that nobody's files are changed and nothing is lost.
"""

import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
from prefect import State, Task, flow, get_run_logger, runtime, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed

from ferops.errors import FeropsError
from ferops.orchestration import markdown, notifications, terminal
from ferops.orchestration.pipeline import dvc_stages, run_folders
from ferops.orchestration.pipeline.dvc_stages import StageResult
from ferops.orchestration.pipeline.run_folders import Folder

WAITS = [10, 30, 90]
"""Seconds before each retry of what may fail for a while: a remote, a server."""


@task(task_run_name="{stage}", cache_policy=NO_CACHE, retries=0)
def reproduce(folder: Folder, stage: str, *, may_run: bool) -> State:
    """Bring one stage up to date, its lines streamed into the log; the state's data are the URL that it printed."""
    if not may_run:
        return Completed(name="Cached", message="nothing to do")
    try:
        result = dvc_stages.reproduce(folder, stage, get_run_logger().info)
    except FeropsError as error:
        return Failed(message=str(error))
    return Completed(name=result.state.title(), data=result.url)


@task(name="pull", task_run_name="pull", cache_policy=NO_CACHE, retries=0)
def pull_outputs(folder: Folder) -> State:
    """Restore the files of dvc.lock from DVC's cache, and from its remote where there is one."""
    return _state(lambda: dvc_stages.pull(folder, get_run_logger().info))


@task(name="push", task_run_name="push", cache_policy=NO_CACHE, retries=0)
def push_results(folder: Folder, branch: str | None) -> State:
    """Commit the results, those of a worktree on a branch of their own, and push DVC's files to the remote."""
    return _state(lambda: dvc_stages.push(folder, branch, get_run_logger().info))


@flow(
    retries=0,
    flow_run_name=run_folders.named_by("recipe"),
    on_failure=[notifications.failed],
    on_crashed=[notifications.failed],
)
def training(
    recipe: str | None = None,
    overrides: dict[str, Any] | None = None,
    targets: list[str] | None = None,
    push: bool = False,
    notify: str | None = None,
) -> State:
    """Bring the pipeline of dvc.yaml up to date, one task a stage, and show its figures beside the champion's.

    Args:
        recipe: a file of recipes/ to merge into params.yaml; none changes no parameter.
        overrides: single parameters by their dotted keys, as in {"train.epochs": 3}.
        targets: stages to stop at; all by default.
        push: afterwards a git commit of the results and a `dvc push`.
        notify: a notification block of Prefect, as in slack-webhook/team, that is notified of a failure.
    """
    try:
        notifications.check(notify)
        values = run_folders.settings(recipe, overrides or {})
        name = run_folders.experiment_name("training", values) if runtime.deployment.id else None
        with run_folders.isolated(values, name) if name else run_folders.workspace(values) as folder:
            return _train(folder, targets or [], name, is_pushed=push)
    except FeropsError as error:
        return Failed(message=str(error))


def _train(folder: Folder, targets: list[str], name: str | None, *, is_pushed: bool) -> State:
    order = dvc_stages.stages(folder.path, targets)
    if name and (pulled := _retried(pull_outputs)(folder, return_state=True)).is_failed():
        return Failed(message=f"pull: {pulled.message}")
    results = _reproduce_all(folder, order)
    failed = next((result for result in results if result.state == "failed"), None)
    is_trained = not failed or failed.stage == dvc_stages.PUBLISH
    if name and is_trained and any(result.state == "ran" for result in results[:-1]):
        dvc_stages.save_experiment(folder, name, get_run_logger().info)
    _show(folder, results)
    if failed:
        return Failed(message=f"{failed.stage}: {failed.message}")
    if is_pushed and (pushed := _retried(push_results)(folder, name, return_state=True)).is_failed():
        return Failed(message=f"push: {pushed.message}")
    ran = [result.stage for result in results if result.state == "ran"]
    return Completed(message=f"{len(ran)} of {len(results)} stages ran: {', '.join(ran) or 'all were up to date'}")


def _reproduce_all(folder: Folder, order: Mapping[str, set[str]]) -> list[StageResult]:
    """Run each stage in turn, up to the first that fails: a gate that fails ends the run at once."""
    changed = dvc_stages.changed(folder)
    states: dict[str, State] = {}
    results: list[StageResult] = []
    for stage, reads in order.items():
        started = time.monotonic()
        may_run = stage in changed or any(states[other].name == "Ran" for other in reads)
        run = _retried(reproduce) if stage == dvc_stages.PUBLISH else reproduce
        state = states[stage] = run(
            folder, stage, may_run=may_run, wait_for=[states[other] for other in reads], return_state=True
        )
        seconds = time.monotonic() - started
        if state.is_failed():
            return [*results, StageResult(stage, "failed", None, seconds, state.message or "")]
        results.append(StageResult(stage, "ran" if state.name == "Ran" else "cached", state.result(), seconds))
    return results


def _show(folder: Folder, results: list[StageResult]) -> None:
    """Publish artifacts in Prefect: stages, gates, figures, plots, a link to the run in MLflow."""
    create_markdown_artifact(markdown.stages(results), key="training-stages", description="The stages and their states")
    by_name = {result.stage: result for result in results}
    gates = [markdown.gate(folder.path, stage.partition("@")[2]) for stage in by_name if stage.startswith("validate@")]
    if gates:
        create_markdown_artifact("\n\n".join(gates), key="training-gates", description="What Great Expectations found")
    if "evaluate" not in by_name or by_name["evaluate"].state == "failed":
        return
    create_markdown_artifact(
        markdown.figures(folder.path), key="training-metrics", description="Against the champion and the paper"
    )
    create_markdown_artifact(markdown.pictures(folder.path), key="training-pictures", description="What was measured")
    if url := results[-1].url:
        create_link_artifact(url, "the run in MLflow", key="training-run", description="The run in MLflow")


def _retried(one: Task[..., Any]) -> Task[..., Any]:
    """Retry a task after growing waits: for what is transient, never for a gate."""
    return one.with_options(retries=len(WAITS), retry_delay_seconds=WAITS)


def _state(act: Callable[[], object]) -> State:
    try:
        act()
    except FeropsError as error:
        return Failed(message=str(error))
    return Completed()


def main(
    targets: Annotated[list[str] | None, typer.Argument(help="Stages to stop at; all by default.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Merge recipes/NAME.yaml into params.yaml.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter, as train.epochs=3; may be repeated.")
    ] = None,
    push: Annotated[bool, typer.Option("--push", help="Commit the results and `dvc push` them.")] = False,
) -> None:
    """Bring the pipeline up to date in this workspace, as a Prefect flow. No server is needed."""
    values = terminal.assignments(overrides or [])
    run_folders.settings(recipe, values)  # a mistake is reported before a server starts
    terminal.main(training, recipe=recipe, overrides=values, targets=targets or [], push=push)


if __name__ == "__main__":
    terminal.command(main, "python flows/training.py --recipe demo --set train.epochs=3")
