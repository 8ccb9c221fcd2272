"""Flow `training`: the stages of dvc.yaml as Prefect tasks, in DVC's own order.

    python flows/training.py
    python flows/training.py --recipe demo --set train.epochs=3

What has to run is DVC's decision; Prefect shows each stage as ran, cached or failed. From a terminal it runs in the
workspace, as `dvc repro` does. As a deployment it runs in a git worktree of its own and keeps what came of it as a DVC
experiment, so that nobody's files are touched and nothing is lost.
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
from ferops.orchestration.markdown import StageReport
from ferops.orchestration.pipeline import dvc_stages, run_folders
from ferops.orchestration.pipeline.run_folders import Folder

WAITS = [10, 30, 90]
"""Seconds before each retry of what may fail for a while: a remote, a server."""


@task(task_run_name="{stage}", cache_policy=NO_CACHE)
def reproduce(folder: Folder, stage: str, *, is_stale: bool) -> State:
    """Bring one stage up to date, its lines streamed into the log; the state's data are the address that it named."""
    if not is_stale:
        return Completed(name="Cached", message="nothing to do")
    try:
        how, address = dvc_stages.reproduce(folder, stage, get_run_logger().info)
    except FeropsError as error:
        return Failed(message=str(error))
    return Completed(name=how.title(), data=address)


@task(name="pull", task_run_name="pull", cache_policy=NO_CACHE)
def bring(folder: Folder) -> State:
    """Bring what dvc.lock names from DVC's cache, and from its remote where there is one."""
    return _state(lambda: dvc_stages.pull(folder, get_run_logger().info))


@task(name="push", task_run_name="push", cache_policy=NO_CACHE)
def send(folder: Folder, branch: str | None) -> State:
    """Commit the results, of a worktree as a branch of its own, and send DVC's files to the remote."""
    return _state(lambda: dvc_stages.push(folder, branch, get_run_logger().info))


@flow(on_failure=[notifications.failed], on_crashed=[notifications.failed])
def training(
    recipe: str | None = None,
    overrides: dict[str, Any] | None = None,
    targets: list[str] | None = None,
    push: bool = False,
    notify: str | None = None,
) -> State:
    """Bring the pipeline of dvc.yaml up to date, one task a stage, and show its figures beside the champion's.

    Args:
        recipe: a file of recipes/ to merge into params.yaml; none leaves the parameters as they are.
        overrides: single parameters by their dotted keys, as in {"train.epochs": 3}.
        targets: stages to stop at; all by default.
        push: afterwards a git commit of the results and a `dvc push`.
        notify: a notification block of Prefect, as in slack-webhook/team, that hears of a failure.
    """
    try:
        notifications.check(notify)
        values = run_folders.settings(recipe, overrides or {})
        name = run_folders.name_of("training", values) if runtime.deployment.id else None
        with run_folders.apart(values, name) if name else run_folders.workspace(values) as folder:
            return _training(folder, targets or [], name, is_pushed=push)
    except FeropsError as error:
        return Failed(message=str(error))


def _training(folder: Folder, targets: list[str], name: str | None, *, is_pushed: bool) -> State:
    order = dvc_stages.stages(folder.path, targets)
    if name and (brought := _patient(bring)(folder, return_state=True)).is_failed():
        return Failed(message=f"pull: {brought.message}")
    done = _stages(folder, order)
    failed = next((one for one in done if one.how == "failed"), None)
    if name and any(one.how == "ran" for one in done[:-1]) and (not failed or failed.stage == dvc_stages.PUBLISH):
        dvc_stages.keep(folder, name, get_run_logger().info)
    _show(folder, done)
    if failed:
        return Failed(message=f"{failed.stage}: {failed.message}")
    if is_pushed and (sent := _patient(send)(folder, name, return_state=True)).is_failed():
        return Failed(message=f"push: {sent.message}")
    ran = [one.stage for one in done if one.how == "ran"]
    return Completed(message=f"{len(ran)} of {len(done)} stages ran: {', '.join(ran) or 'all were up to date'}")


def _stages(folder: Folder, order: Mapping[str, set[str]]) -> list[StageReport]:
    """Each stage in turn, up to the first that fails: a gate that fails ends the run at once."""
    stale = dvc_stages.stale(folder)
    states: dict[str, State] = {}
    done = []
    for stage, reads in order.items():
        began = time.monotonic()
        is_stale = stage in stale or any(states[other].name == "Ran" for other in reads)
        run = _patient(reproduce) if stage == dvc_stages.PUBLISH else reproduce
        states[stage] = run(
            folder, stage, is_stale=is_stale, wait_for=[states[other] for other in reads], return_state=True
        )
        seconds = time.monotonic() - began
        message = states[stage].message or ""
        if states[stage].is_failed():
            return [*done, StageReport(stage, "failed", seconds, message)]
        done.append(StageReport(stage, states[stage].name.lower(), seconds, address=states[stage].result()))
    return done


def _show(folder: Folder, done: list[StageReport]) -> None:
    """What people look at in Prefect: stages, gates, figures, pictures, the way to the run in MLflow."""
    create_markdown_artifact(markdown.stages(done), key="training-stages", description="The stages as they went")
    by_name = {one.stage: one for one in done}
    gates = [markdown.gate(folder.path, stage.partition("@")[2]) for stage in by_name if stage.startswith("validate@")]
    if gates:
        create_markdown_artifact("\n\n".join(gates), key="training-gates", description="What Great Expectations found")
    if "evaluate" not in by_name or by_name["evaluate"].how == "failed":
        return
    create_markdown_artifact(
        markdown.figures(folder.path), key="training-metrics", description="Against the champion and the paper"
    )
    create_markdown_artifact(markdown.pictures(folder.path), key="training-pictures", description="What was measured")
    if address := done[-1].address:
        create_link_artifact(address, "the run in MLflow", key="training-run", description="The run in MLflow")


def _patient(one: Task[..., Any]) -> Task[..., Any]:
    """A task that is tried again after growing waits: for what is transient, never for a gate."""
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
    run_folders.settings(recipe, values)  # a mistake is told before a server starts
    terminal.main(training, recipe=recipe, overrides=values, targets=targets or [], push=push)


if __name__ == "__main__":
    terminal.command(main, "python flows/training.py --recipe demo --set train.epochs=3")
