"""Flow `scoring`: predict the expressions of the faces in a folder with the champion, batch by batch.

    python flows/scoring.py FOLDER

Images that the same weights have scored before are left out, so it can be run repeatedly on a folder that grows, and
after a kill it continues where it was. Batches are scored in turn, or side by side as tasks of a Dask cluster.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed, State
from prefect.task_runners import TaskRunner

from ferops import params
from ferops.data.readers.image_files import UnreadableFile
from ferops.errors import FeropsError, describe_os_error
from ferops.machine.files import SCRATCH
from ferops.orchestration import markdown, notifications, side_by_side, terminal
from ferops.orchestration.monitoring import scored_table
from ferops.orchestration.monitoring.batch_scoring import Plan, Scorer, ScoringResult, plan, score
from ferops.orchestration.pipeline import run_folders
from ferops.predict import networks
from ferops.tracking import store
from ferops.tracking.record import WEIGHTS
from ferops.tracking.registry import versions

SHOWN = 200
"""Bad files that the artifact lists at most; the CSV beside the table lists all."""


class BatchFailed(FeropsError):
    """A batch was not scored; those that ran beside it were."""


@task(task_run_name="batch {number}", cache_policy=NO_CACHE, retries=0)
def batch(files: Sequence[Path], number: int, scorer: Scorer) -> ScoringResult | State:
    """Read the files of a batch, predict them with the network, add a part to the table."""
    try:
        return score(files, number, scorer)
    except FeropsError as error:
        return Failed(message=str(error))
    except OSError as error:
        return Failed(message=describe_os_error(error))


@flow(
    retries=0,
    flow_run_name=run_folders.named_by("images", "model"),
    on_failure=[notifications.failed],
    on_crashed=[notifications.failed],
)
def scoring(
    images: str,
    output: str = "data/scored",
    model: str | None = None,
    batch_size: int = 1024,
    dask: int | str | None = None,
    notify: str | None = None,
) -> State:
    """Predict the expressions of the new images in a folder with the champion.

    Args:
        images: a folder of images of faces, folders in it included; any size, colour and depth.
        output: folder of the table, parquet: pandas reads it as one.
        model: fer-vgg16@ALIAS, fer-vgg16/NUMBER or fer-vgg16/DIGEST; by default the champion of the registered model
            that params.yaml trains.
        batch_size: images a task.
        dask: for batches side by side, the number of worker processes on this machine, or the address of a running
            cluster whose workers see this clone and the folders at the same paths on a shared file system. In turn by
            default.
        notify: a notification block of Prefect, as in slack-webhook/team, that is notified of a failure.
    """
    if batch_size < 1:
        return Failed(message=f"batch_size is {batch_size}; expected 1 or more")
    try:
        notifications.check(notify)
        runner = side_by_side.task_runner(dask, __name__)
        settings = params.load()
        model = model or f"{store.registered_model(settings.model.name)}@{versions.CHAMPION}"
        SCRATCH.mkdir(exist_ok=True)
        with TemporaryDirectory(prefix="scoring-", dir=SCRATCH.absolute()) as scratch:
            with store.session() as opened:
                version = versions.resolve(opened, model)
                name, weights = f"{version.name}/{version.version}", str(version.tags.get(WEIGHTS))
                todo = plan(Path(images), Path(output), weights)
                get_run_logger().info(f"{todo.found:,} files, {todo.known:,} of them known")
                if not todo.new:
                    return conclude(todo, name, ScoringResult(Counter(), []))
                network = networks.fetch(f"models:/{name}", Path(scratch))
                kernel = versions.median_kernel(opened, version, settings.preprocess.median_kernel)
            get_run_logger().info(f"{name} answers by its {network.name}")
            scorer = Scorer(
                todo.folder.absolute(), todo.output.absolute(), todo.run, network, 1 if runner else None,
                int(version.version), weights, kernel,
            )  # fmt: skip
            return conclude(todo, name, score_all(todo, scorer, batch_size, runner))
    except FeropsError as error:
        return Failed(message=str(error))
    except OSError as error:
        return Failed(message=describe_os_error(error))


def score_all(todo: Plan, scorer: Scorer, batch_size: int, runner: TaskRunner | None) -> ScoringResult:
    """Score every new file, and show the progress as an artifact; after a batch that failed no other one begins.

    Raises:
        BatchFailed: a batch failed; those that ran beside it were scored.
    """
    of = -(-len(todo.new) // batch_size)
    progress = create_progress_artifact(0.0, key="scoring-progress", description=f"{todo.folder}, run {todo.run}")
    done, failed = ScoringResult(Counter(), []), list[str]()

    def arguments(number: int) -> dict[str, Any]:
        files = todo.new[(number - 1) * batch_size : number * batch_size]
        return {"files": files, "number": number, "scorer": scorer}

    numbers = takewhile(lambda _: not failed, range(1, of + 1))
    for count, (number, state) in enumerate(side_by_side.run(batch, numbers, arguments, runner), start=1):
        if not state.is_completed():
            failed.append(f"batch {number} of {of}: {state.message}")
            continue
        one = state.result()
        done.predicted.update(one.predicted)
        done.bad.extend(one.bad)
        get_run_logger().info(f"batch {number} of {of}: {one.predicted.total():,} scored, {len(one.bad):,} bad")
        update_progress_artifact(progress, 100 * count / of)
    if failed:
        raise BatchFailed("; ".join(failed))
    return done


def conclude(todo: Plan, model: str, done: ScoringResult) -> State:
    """Show the results as artifacts and return the final state."""
    scored_now = done.predicted.total()
    summary = f"{scored_now:,} scored, {todo.known:,} known, {len(done.bad):,} bad of {todo.found:,} files"
    rows = [
        ("files", f"{todo.found:,}"), ("scored", f"{scored_now:,}"), ("skipped as known", f"{todo.known:,}"),
        ("bad", f"{len(done.bad):,}"), ("model", model), ("table", str(todo.output)),
        ("run", todo.run),
    ]  # fmt: skip
    create_markdown_artifact(markdown.table(["", ""], *rows), key="scoring-summary", description=summary)
    if scored_now:
        shares = [(name, f"{count:,}", f"{count / scored_now:.1%}") for name, count in done.predicted.most_common()]
        create_markdown_artifact(markdown.table(["predicted", "images", "share"], *shares), key="scoring-shares")
    if done.bad:
        list_bad(todo, done.bad)
    if not scored_now and not todo.known:
        return Failed(message=f"no file in {todo.folder} is an image that can be read; see the artifact scoring-bad")
    return Completed(message=summary)


def list_bad(todo: Plan, bad: list[UnreadableFile]) -> None:
    """List the files that could not be read, with the reasons: in the artifact, and all of them in a CSV."""
    path = scored_table.add_bad(todo.output, todo.run, bad)
    left = len(bad) - SHOWN
    lines = [
        markdown.table(["file", "reason"], *bad[:SHOWN]),
        f"{left:,} more are in {path}" if left > 0 else f"{path}",
    ]
    create_markdown_artifact("\n\n".join(lines), key="scoring-bad", description=f"{len(bad):,} files not read")
    get_run_logger().warning("%s files could not be read: %s", f"{len(bad):,}", path)


def main(
    images: Annotated[
        str, typer.Argument(help="A folder of images of faces, folders in it included.", metavar="FOLDER")
    ],
    output: Annotated[str, typer.Option(help="Folder of the table, parquet.")] = "data/scored",
    model: Annotated[
        str | None,
        typer.Option(help="fer-vgg16@ALIAS, fer-vgg16/NUMBER or fer-vgg16/DIGEST; by default the champion."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a task.")] = 1024,
    dask: Annotated[
        str | None, typer.Option(help="Side by side: a number of worker processes, or the address of a Dask cluster.")
    ] = None,
) -> None:
    """Predict the expressions of the new images in a folder."""
    terminal.main(scoring, images=images, output=output, model=model, batch_size=batch_size, dask=dask)


if __name__ == "__main__":
    terminal.command(main, "python flows/scoring.py ~/faces")
