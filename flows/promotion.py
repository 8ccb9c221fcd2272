"""Flow `promotion`: the gate of `ferops promote`, optionally with a person's approval and with notifications.

    python flows/promotion.py
    python flows/promotion.py --model fer-vgg16/2

A refusal is a result: the run ends as Promoted, Refused or Unchanged. With `require_approval` it pauses until a person
resumes it; where the decision has changed since it was shown, it asks again.
"""

import sys
from typing import Annotated, Any

import typer
from prefect import State, flow, runtime, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled, Completed, Failed
from pydantic import PositiveFloat

from ferops import params
from ferops.errors import FeropsError
from ferops.orchestration import markdown, notifications, terminal
from ferops.orchestration.pipeline import run_folders
from ferops.promotion import gate
from ferops.promotion.gate import Verdict
from ferops.tracking import store
from ferops.tracking.registry.ledger import REGISTRY
from ferops.tracking.runs import read_artifact

POLL = 2
"""Seconds between two checks whether a paused run was resumed."""

RESUME = "prefect api POST /flow_runs/{}/resume"
"""Command that resumes a run: Prefect has no shorter one."""


class TaskFailed(FeropsError):
    """A task of the flow failed; the message is the task's."""


@task(name="ask the gate", cache_policy=NO_CACHE, retries=0)
def ask(reference: str | None) -> State:
    """Compare a version with the rules and the champion; the state's data are the verdict."""
    try:
        settings = params.load()
        with store.session() as opened:
            verdict = gate.check(opened, reference, settings)
    except FeropsError as error:
        return Failed(message=str(error))
    return Completed(message=verdict.outcome, data=verdict)


@task(name="carry out", cache_policy=NO_CACHE, retries=0)
def carry_out(verdict: Verdict) -> State:
    """Set the alias or record the refusal; a deployment leaves reports/registry.jsonl to the next `publish`."""
    try:
        with store.session() as opened:
            gate.carry_out(opened, verdict, None if runtime.deployment.id else REGISTRY)
    except FeropsError as error:
        return Failed(message=str(error))
    return Completed(message=verdict.sentence)


@flow(
    retries=0,
    flow_run_name=run_folders.named_by("model"),
    on_failure=[notifications.failed],
    on_crashed=[notifications.failed],
)
def promotion(
    model: str | None = None,
    require_approval: bool = False,
    approval_hours: PositiveFloat = 24,
    notify: str | None = None,
) -> State:
    """Compare a network with the rules and the champion on validation; promote it, or report why not.

    Args:
        model: fer-vgg16@ALIAS, fer-vgg16/NUMBER or fer-vgg16/DIGEST; by default the challenger of the registered model
            that params.yaml trains.
        require_approval: where the gate passes it, wait until a person resumes the run.
        approval_hours: how long it waits; after that nothing is promoted.
        notify: a notification block of Prefect, as in slack-webhook/team, that is notified of the outcome.
    """
    try:
        notifications.check(notify)
        verdict = _result(ask(model, return_state=True))
        approved = None
        while require_approval and verdict.outcome == "promoted" and verdict.recorded != approved:
            waits = f"{verdict.name} passes the gate and waits for a person to approve it"
            resume = RESUME.format(runtime.flow_run.id)
            _show(verdict, f"{waits}: resume or cancel the run in Prefect's UI, or `{resume}`.")
            notifications.notify(notify, waits)
            if final := _approval(verdict, approval_hours):
                return final
            approved = verdict.recorded
            verdict = _result(ask(verdict.challenger.reference, return_state=True))
        _result(carry_out(verdict, return_state=True))
        outcome = f"{verdict.outcome.title()}: {verdict.sentence}"
        _show(verdict, f"{outcome}.")
    except FeropsError as error:
        return Failed(message=str(error))
    if verdict.outcome != "unchanged":
        notifications.notify(notify, outcome)
    return Completed(name=verdict.outcome.title(), message="; ".join([verdict.sentence, *verdict.reasons]))


def _result(state: State) -> Any:
    if state.is_failed():
        raise TaskFailed(state.message)
    return state.result()


def _approval(verdict: Verdict, hours: float) -> State | None:
    """Pause until a person resumes the run; return the final state where nobody did."""
    try:
        pause_flow_run(timeout=max(1, round(3600 * hours)), poll_interval=POLL)
    except FlowPauseTimeout:
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(runtime.flow_run.id)
            if run.state and (run.state.is_cancelling() or run.state.is_cancelled()):
                return Cancelled(message=f"{verdict.name} was not promoted")
            late = Failed(
                name="NotApproved", message=f"nobody approved {verdict.name} in {hours:g} hours: not promoted"
            )
            # the server's own message would be only that the run was never resumed
            client.set_flow_run_state(run.id, late.model_copy(deep=True), force=True)
            return late
    return None


def _show(verdict: Verdict, headline: str) -> None:
    with store.session() as opened:
        confusion = read_artifact(opened, verdict.challenger.run_id, markdown.CONFUSION)
        page = markdown.decision(opened, verdict, headline, confusion)
    create_markdown_artifact(page, key="promotion-decision", description="The gate's decision and its reasons")


def main(
    model: Annotated[
        str | None,
        typer.Option(help="fer-vgg16@ALIAS, fer-vgg16/NUMBER or fer-vgg16/DIGEST; by default the challenger."),
    ] = None,
    require_approval: Annotated[
        bool, typer.Option("--require-approval", help="Wait until a person resumes the run in the Prefect UI.")
    ] = False,
    notify: Annotated[
        str | None, typer.Option(help="A notification block of Prefect, as in slack-webhook/team, to notify.")
    ] = None,
) -> None:
    """Compare a network with the rules and the champion; promote it, or report why not."""
    if require_approval and not PREFECT_API_URL.value():
        sys.exit("promotion: without a Prefect server nobody can approve; set PREFECT_API_URL (`make server`)")
    terminal.main(promotion, model=model, require_approval=require_approval, notify=notify)


if __name__ == "__main__":
    terminal.command(main, "python flows/promotion.py --model fer-vgg16/2")
