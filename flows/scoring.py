"""Flow `scoring`: predict the expressions of the faces in a folder with the champion, batch by batch.

    python flows/scoring.py FOLDER

Images that the same weights have scored before are left out, so it can be run repeatedly on a folder that grows, and
after a kill it continues where it was.
"""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed, State
from prefect.utilities.annotations import quote

from ferops import params
from ferops.data import scored_table
from ferops.data.readers.image_files import UnreadableFile
from ferops.errors import FeropsError, describe_os_error
from ferops.orchestration import markdown, notifications, terminal
from ferops.orchestration.monitoring.batch_scoring import Plan, ScoringResult, plan, score
from ferops.orchestration.pipeline import run_folders
from ferops.tracking import store, versions
from ferops.tracking.record import WEIGHTS
from ferops.tracking.versions import Network

SHOWN = 200
"""Bad files that the artifact lists at most; the CSV beside the table lists all."""


@task(cache_policy=NO_CACHE, retries=0)
def batch(files: tuple[Path, ...], plan: Plan, network: Network) -> ScoringResult | State:
    """Read the files of a batch, predict them with the network, add a part to the table."""
    try:
        return score(files, plan, network)
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
    batch_size: int = 256,
    notify: str | None = None,
) -> State:
    """Predict the expressions of the new images in a folder with the champion.

    Args:
        images: a folder of images of faces, folders in it included; any size, colour and depth.
        output: folder of the table, parquet: pandas reads it as one.
        model: fer-vgg16@ALIAS, fer-vgg16/NUMBER or fer-vgg16/DIGEST; by default the champion of the registered model
            that params.yaml trains.
        batch_size: images a task.
        notify: a notification block of Prefect, as in slack-webhook/team, that is notified of a failure.
    """
    logger = get_run_logger()
    if batch_size < 1:
        return Failed(message=f"batch_size is {batch_size}; expected 1 or more")
    try:
        notifications.check(notify)
        settings = params.load()
        kernel = settings.preprocess.median_kernel
        model = model or f"{store.registered_model(settings.model.name)}@{versions.CHAMPION}"
        with store.session() as opened:
            version = versions.resolve(opened, model)
            todo = plan(Path(images), Path(output), str(version.tags.get(WEIGHTS)), batch_size)
            logger.info("%s files, %s of them known", f"{todo.found:,}", f"{todo.known:,}")
            network = versions.load(opened, version, kernel) if todo.batches else None
    except FeropsError as error:
        return Failed(message=str(error))
    except OSError as error:
        return Failed(message=describe_os_error(error))

    done = ScoringResult(Counter(), [])
    progress = create_progress_artifact(0.0, key="scoring-progress", description=f"{images} with {model}")
    for number, files in enumerate(todo.batches, start=1):
        name = f"batch {number} of {len(todo.batches)}"
        named = batch.with_options(task_run_name=name)
        state = named(quote(files), quote(todo), quote(network), return_state=True)
        if not state.is_completed():
            return Failed(message=f"{name}: {state.message}")
        one = state.result()
        done = ScoringResult(done.predicted + one.predicted, [*done.bad, *one.bad])
        logger.info("%s: %s scored, %s bad", name, f"{one.predicted.total():,}", f"{len(one.bad):,}")
        update_progress_artifact(progress, 100 * number / len(todo.batches))
    return conclude(todo, f"{version.name}/{version.version}", done)


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
    batch_size: Annotated[int, typer.Option(min=1, help="Images a task.")] = 256,
) -> None:
    """Predict the expressions of the new images in a folder."""
    terminal.main(scoring, images=images, output=output, model=model, batch_size=batch_size)


if __name__ == "__main__":
    terminal.command(main, "python flows/scoring.py ~/faces")
