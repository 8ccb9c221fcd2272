"""Notify people through a notification block of Prefect; whether a message arrives changes no decision of a flow.

A flow with a parameter `notify` calls `check(notify)` first and `notifications.notify(notify, ...)` when there is news;
`@flow(on_failure=[notifications.failed], on_crashed=[notifications.failed])` notifies of failures too.
"""

import asyncio
from contextlib import suppress
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
    """There is no such block, or it is no notification block."""


def check(block: str | None) -> None:
    """Check the name of a notification block, if there is one, before the flow does anything.

    Raises:
        UnknownBlock: Prefect has no block of this name, or it is no notification block.
    """
    if block:
        _load(block)


def notify(block: str | None, text: str) -> None:
    """Send a line with the URL of the flow run; where it does not arrive, a task of the run fails, not the run."""
    if block:
        _notify(block, runtime.flow_run.flow_name, text, runtime.flow_run.id)


def failed(flow: Flow[..., Any], run: FlowRun, state: State) -> None:
    """Notify the block of the flow's parameter `notify` that it failed, and why: a hook of flows."""
    if block := run.parameters.get("notify"):
        with suppress(UnknownBlock):  # this mistake is why the flow failed
            check(block)
            _notify(block, flow.name, f"{state.name}: {state.message}", run.id)


def _notify(block: str, flow: str | None, text: str, run: Any) -> None:
    send(block, f"ferops: {flow}", "\n".join(filter(None, [text, url_for("flow-run", run)])), return_state=True)


@task(name="notify", cache_policy=NO_CACHE, retries=len(WAITS), retry_delay_seconds=WAITS)
def send(block: str, subject: str, body: str) -> State:
    """Send a message through a notification block; retried after growing waits."""
    try:
        loaded = _load(block)
        with loaded.raise_on_failure():
            sending: object = loaded.notify(body, subject)
            if asyncio.iscoroutine(sending):  # async in the base class; Prefect's own blocks have sent it by now
                asyncio.run(sending)
    except UnknownBlock as error:  # it was deleted while the flow ran
        return Failed(message=str(error))
    except Exception as error:  # of the client of any service; the URL in its message is a secret of many
        answer = getattr(error, "response", None)
        reason = type(error).__name__ if answer is None else f"answered {answer.status_code}"
        return Failed(message=f"{block}: {reason}")
    return Completed(message=body)


def _load(name: str) -> NotificationBlock:
    try:
        block = Block.load(name)
    except ValueError:
        raise UnknownBlock(f"notify: Prefect has no block {name!r}; expected TYPE/NAME of `prefect block ls`") from None
    if not isinstance(block, NotificationBlock):
        raise UnknownBlock(f"notify: the block {name} sends no messages; `prefect block ls` lists those that there are")
    return block
