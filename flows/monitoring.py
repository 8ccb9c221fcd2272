"""Flow `monitoring`: compare the latest scored images with what the champion was trained on.

    python flows/monitoring.py

Fails where they have drifted and names the columns that did; the report is in reports/monitoring/.
"""

from pathlib import Path
from typing import Annotated

import typer
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed, Failed, State

from ferops import params
from ferops.errors import FeropsError, describe_os_error
from ferops.orchestration import markdown, notifications, terminal
from ferops.orchestration.monitoring import drift_report
from ferops.orchestration.monitoring.drift_report import PICTURE, REPORTS, TooFew, examine
from ferops.orchestration.pipeline import run_folders
from ferops.tracking.registry.versions import CHAMPION
from ferops.tracking.store import registered_model

TRAINING = "training/nightly"


@flow(
    retries=0,
    flow_run_name=run_folders.named_by("model"),
    on_failure=[notifications.failed],
    on_crashed=[notifications.failed],
)
def monitoring(scored: str = "data/scored", model: str | None = None, notify: str | None = None) -> State:
    """Compare the latest scored images with the champion's training data; fails where they have drifted.

    Args:
        scored: folder of the table that the flow scoring writes.
        model: fer-vgg16@ALIAS, fer-vgg16/NUMBER or fer-vgg16/DIGEST; only images that it has scored are compared. By
            default the champion of the registered model that params.yaml trains.
        notify: a notification block of Prefect, as in slack-webhook/team, that is notified of drift.
    """
    try:
        notifications.check(notify)
        values = params.load()
        settings = values.monitoring
        champion = f"{registered_model(values.model.name)}@{CHAMPION}"
        finding = examine(Path(scored), model or champion, settings)
    except TooFew as few:
        return Completed(name="TooFew", message=str(few))
    except FeropsError as error:
        return Failed(message=str(error))
    except OSError as error:
        return Failed(message=describe_os_error(error))
    picture = markdown.picture((REPORTS / PICTURE).read_bytes(), "Reference and latest")
    page = f"{drift_report.page(finding)}\n\n{picture}"
    create_markdown_artifact(page, key="monitoring-report", description=finding.verdict)
    if not finding.failures:
        return Completed(message=finding.verdict)
    get_run_logger().error("%s; see %s", finding.verdict, REPORTS / "docs/index.html")
    training = f"; {retrain(finding.verdict)}" if settings.retrain else ""
    return Failed(message=f"{finding.verdict}{training}")


def retrain(why: str) -> str:
    """Start the training deployment without waiting for it; return a sentence on the result."""
    try:
        started = run_deployment(TRAINING, timeout=0, tags=["drift"], as_subflow=False)
    except ObjectNotFound:
        return f"there is no deployment {TRAINING} to start: `prefect deploy --all` makes it"
    get_run_logger().info("started %s as %s: %s", TRAINING, started.name, why)
    return f"{TRAINING} was started: {started.name}"


def main(
    scored: Annotated[str, typer.Option(help="Folder of the table that flows/scoring.py writes.")] = "data/scored",
    model: Annotated[
        str | None,
        typer.Option(help="fer-vgg16@ALIAS, fer-vgg16/NUMBER or fer-vgg16/DIGEST; by default the champion."),
    ] = None,
) -> None:
    """Compare the latest scored images with what the champion was trained on; exits with 1 where they have drifted."""
    terminal.main(monitoring, scored=scored, model=model)


if __name__ == "__main__":
    terminal.command(main, "python flows/monitoring.py")
