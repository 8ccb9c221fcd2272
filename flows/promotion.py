"""Flow `promotion`: the gate of `ferops promote`, with a person's approval and messages where they are asked for.

    python flows/promotion.py
    python flows/promotion.py --model fer-vgg16/2

A refusal is a result: the run ends as Promoted, Refused or Unchanged. With `require_approval` it waits, paused, for a
person to resume it, and what is carried out afterwards is exactly what the person has been shown.
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
from ferops.orchestration import notifications, promotion_report, terminal
from ferops.promotion import gate
from ferops.promotion.gate import Verdict
from ferops.tracking import store
from ferops.tracking.queries import read_artifact
from ferops.tracking.registry.ledger import REGISTRY
from ferops.tracking.store import MODEL

GLANCE = 2
"""Seconds between two looks at whether a paused run was resumed."""

RESUME = "prefect api POST /flow_runs/{}/resume"
"""Prefect has no shorter command for it."""


class NotDone(FeropsError):
    """A task of the flow failed: its line."""


@task(name="ask the gate", cache_policy=NO_CACHE)
def ask(reference: str | None) -> State:
    """Hold a version against the rules and the champion; the state's data are the verdict."""
    try:
        settings = params.load()
        with store.session() as opened:
            asked = gate.check(opened, reference, settings)
    except FeropsError as error:
        return Failed(message=str(error))
    return Completed(message=asked.outcome, data=asked)


@task(name="carry out", cache_policy=NO_CACHE)
def carry_out(asked: Verdict) -> State:
    """Move the alias or record the refusal; a deployment leaves reports/registry.jsonl to the next `publish`."""
    try:
        with store.session() as opened:
            gate.carry_out(opened, asked, None if runtime.deployment.id else REGISTRY)
    except FeropsError as error:
        return Failed(message=str(error))
    return Completed(message=asked.sentence)


@flow(on_failure=[notifications.failed], on_crashed=[notifications.failed])
def promotion(
    model: str | None = None,
    require_approval: bool = False,
    approval_hours: PositiveFloat = 24,
    notify: str | None = None,
) -> State:
    """Hold a network against the rules and the champion on validation; make it champion, or say why not.

    Args:
        model: fer-vgg16@ALIAS or fer-vgg16/NUMBER; the challenger by default.
        require_approval: where the gate lets it pass, wait until a person resumes the run.
        approval_hours: how long it waits; after that nothing is promoted.
        notify: a notification block of Prefect, as in slack-webhook/team, that hears of what happens.
    """
    try:
        notifications.check(notify)
        asked = _done(ask(model, return_state=True))
        seen = None
        while require_approval and asked.outcome == "promoted" and asked.recorded != seen:
            waits = f"{asked.name} passes the gate and waits for a person to approve it"
            _show(
                asked, f"{waits}: resume or cancel the run in Prefect's UI, or `{RESUME.format(runtime.flow_run.id)}`."
            )
            notifications.tell(notify, waits)
            if ended := _approval(asked, approval_hours):
                return ended
            seen = asked.recorded
            asked = _done(ask(f"{MODEL}/{asked.challenger.version}", return_state=True))
        _done(carry_out(asked, return_state=True))
        says = f"{asked.outcome.title()}: {asked.sentence}"
        _show(asked, f"{says}.")
    except FeropsError as error:
        return Failed(message=str(error))
    if asked.outcome != "unchanged":
        notifications.tell(notify, says)
    return Completed(name=asked.outcome.title(), message="; ".join([asked.sentence, *asked.reasons]))


def _done(state: State) -> Any:
    if state.is_failed():
        raise NotDone(state.message)
    return state.result()


def _approval(asked: Verdict, hours: float) -> State | None:
    """Wait for a person; gives the state to end in where nobody approved."""
    try:
        pause_flow_run(timeout=max(1, round(3600 * hours)), poll_interval=GLANCE)
    except FlowPauseTimeout:
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(runtime.flow_run.id)
            if run.state and (run.state.is_cancelling() or run.state.is_cancelled()):
                return Cancelled(message=f"{asked.name} was not promoted")
            late = Failed(name="NotApproved", message=f"nobody approved {asked.name} in {hours:g} hours: not promoted")
            # of its own the server would say only that the run was never resumed
            client.set_flow_run_state(run.id, late.model_copy(deep=True), force=True)
            return late
    return None


def _show(asked: Verdict, says: str) -> None:
    with store.session() as opened:
        confusion = read_artifact(opened, asked.challenger.run_id, promotion_report.CONFUSION)
        page = promotion_report.page(opened, asked, says, confusion)
    create_markdown_artifact(page, key="promotion-decision", description="What the gate says, and why")


def main(
    model: Annotated[
        str | None, typer.Option(help="fer-vgg16@ALIAS or fer-vgg16/NUMBER; by default fer-vgg16@challenger.")
    ] = None,
    require_approval: Annotated[
        bool, typer.Option("--require-approval", help="Wait until a person resumes the run in the Prefect UI.")
    ] = False,
    notify: Annotated[
        str | None, typer.Option(help="A notification block of Prefect, as in slack-webhook/team, that is told.")
    ] = None,
) -> None:
    """Hold a network against the rules and the champion; make it champion, or say why not."""
    if require_approval and not PREFECT_API_URL.value():
        sys.exit("promotion: without a Prefect server nobody can approve; set PREFECT_API_URL (`make server`)")
    terminal.main(promotion, model=model, require_approval=require_approval, notify=notify)


if __name__ == "__main__":
    terminal.command(main, "python flows/promotion.py --model fer-vgg16/2")
