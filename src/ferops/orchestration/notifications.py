"""Messages to people through a notification block of Prefect; whether they arrive changes nothing that a flow decides.

A flow with a parameter `notify` calls `check(notify)` first and `tell(notify, ...)` where there is news; with
`@flow(on_failure=[notifications.failed], on_crashed=[notifications.failed])` its failures are told too.
"""

import asyncio
from typing import Any, Final

from prefect import Flow, State, runtime, task
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas import FlowRun
from prefect.states import Completed, Failed
from prefect.utilities.urls import url_for

from ferops.errors import FeropsError

WAITS: Final[list[float]] = [2, 8, 30]
"""Seconds before each retry of a message."""


class UnknownBlock(FeropsError):
    """There is no such block, or it sends no messages."""


def check(block: str | None) -> None:
    """Find a mistake in the name of a block before anything is done; without a name nothing is told.

    Raises:
        UnknownBlock: Prefect has none of this name, or it is no notification block.
    """
    if block:
        _load(block)


def tell(block: str | None, text: str) -> None:
    """Send a line, with the address of the flow run; where it does not arrive, a task of the run has failed."""
    if block:
        _tell(block, runtime.flow_run.flow_name, text, runtime.flow_run.id)


def failed(flow: Flow[..., Any], run: FlowRun, state: State) -> None:
    """Hook of a flow: tell the block of its parameter `notify` that it failed, and why."""
    if block := run.parameters.get("notify"):
        try:
            check(block)
        except UnknownBlock:
            return  # that is what it failed for
        _tell(block, flow.name, f"{state.name}: {state.message}", run.id)


def _tell(block: str, flow: str | None, text: str, run: Any) -> None:
    address = url_for("flow-run", run)
    send(block, f"ferops: {flow}", "\n".join(filter(None, [text, address])), return_state=True)


@task(name="notify", cache_policy=NO_CACHE, retries=len(WAITS), retry_delay_seconds=WAITS)
def send(block: str, subject: str, body: str) -> State:
    """Send a message through a block; tried again after growing waits."""
    try:
        loaded = _load(block)
        with loaded.raise_on_failure():
            sending: object = loaded.notify(body, subject)
            if asyncio.iscoroutine(sending):  # as the base class has it; Prefect's own blocks are done by now
                asyncio.run(sending)
    except Exception as error:  # of any service's client
        return Failed(message=f"{block}: {_reason(error)}")
    return Completed(message=body)


def _load(name: str) -> NotificationBlock:
    try:
        block = Block.load(name)
    except ValueError:
        raise UnknownBlock(
            f"notify: Prefect has no block {name!r}; expected TYPE/NAME, as in slack-webhook/team: `prefect block ls` "
            "lists them"
        ) from None
    if not isinstance(block, NotificationBlock):
        raise UnknownBlock(f"notify: the block {name} sends no messages; `prefect block ls` lists those that there are")
    return block


def _reason(error: Exception) -> str:
    """What went wrong, without the address, which is a secret of many services."""
    if isinstance(error, UnknownBlock):
        return str(error)
    answer = getattr(error, "response", None)
    return f"answered {answer.status_code}" if answer is not None else type(error).__name__
