"""A cross-process lock that works on every machine that uses the store, made of registered models with reserved names.

MLflow has no locks and no compare-and-set. Who wants the lock creates a registered model whose name nobody else uses,
and looks after that which others there are: of two processes the one that looks later sees the other, so that never two
see nobody. Nobody deletes the model of a process that may still run, and each its own by its own name.
"""

import json
import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from ferops.errors import FeropsError
from ferops.machine import processes
from ferops.tracking.store import Store, no_retries, or_none

if TYPE_CHECKING:
    from mlflow.entities.model_registry import RegisteredModel

PREFIX: Final = "fer.lock."
"""First part of the names of the registered models that are locks."""

_PROCESS: Final = "process"
_NOTE: Final = "note"
_ABANDONED: Final = 600.0
"""Seconds after which a lock of another machine is taken over; on this machine it is known whether its process runs."""

_PAUSE: Final = 0.2
"""Seconds between two looks, and between the first two tries."""
_LONGEST_PAUSE: Final = 0.8


class Busy(FeropsError):
    """Another process holds the lock: carries `holder`, the process and its host."""

    def __init__(self, what: str, holder: str) -> None:
        """Name the locked operation and the process that holds the lock."""
        super().__init__(f"{what} is under way: {processes.describe(holder)}; try again when it has ended")
        self.holder = processes.describe(holder)


@contextmanager
def lock(
    store: Store,
    name: str,
    what: str,
    *,
    wait: float = 0,
    note: Any = None,
    recover: Callable[[Any], None] = lambda note: None,
) -> Iterator[None]:
    """Acquire a cross-process lock for a block of code.

    Args:
        store: the open store.
        name: of the lock; letters, digits and dashes.
        what: the locked operation, for messages.
        wait: seconds to wait for the process that holds it.
        note: JSON value for the process that takes the lock over, should this one be killed.
        recover: called with the note of each killed process that the lock is taken over from, the oldest first.

    Raises:
        Busy: another process holds the lock, and did not release it in time.
    """
    deadline, pause = time.monotonic() + wait, _PAUSE
    while True:
        own = f"{PREFIX}{name}.{uuid.uuid4().hex}"
        tags = {_PROCESS: processes.this_process(), _NOTE: json.dumps(note)}
        with no_retries():
            model = store.client.create_registered_model(own, tags, f"A lock, held for a moment: {what}.")
        try:
            abandoned = _wait_for_others(store, name, model, what, deadline)
            if abandoned is not None:
                for other in abandoned:
                    recover(json.loads(other.tags.get(_NOTE, "null")))
                    or_none(store.client.delete_registered_model, other.name)
                yield
                return
        finally:
            with no_retries():  # where no server answers, the next process finds that this one has ended
                or_none(store.client.delete_registered_model, own)
        time.sleep(random.uniform(pause / 2, pause))  # noqa: S311 # no secret
        pause = min(2 * pause, _LONGEST_PAUSE)  # ever rarer in the way of the one that waits


def _wait_for_others(
    store: Store, name: str, own: "RegisteredModel", what: str, deadline: float
) -> "list[RegisteredModel] | None":
    """Wait until no running process has a model of this lock; return those of killed ones, the oldest first.

    None where an older one runs: this one has to start again. So the oldest alone waits, and nobody overtakes it.
    """
    while True:
        found = store.client.search_registered_models(f"name LIKE '{PREFIX}{name}.%'")
        others = sorted((one for one in found if one.name != own.name), key=_age)
        running = [one for one in others if not _is_abandoned(one)]
        if not running:
            return others
        if time.monotonic() >= deadline:
            raise Busy(what, running[0].tags.get(_PROCESS, ""))
        if _age(running[0]) < _age(own):
            return None
        time.sleep(_PAUSE)


def _age(model: "RegisteredModel") -> tuple[int, str]:
    return model.creation_timestamp, model.name


def _is_abandoned(held: "RegisteredModel") -> bool:
    process = held.tags.get(_PROCESS, "")
    if processes.is_local(process):
        return not processes.is_running(process)
    return time.time() - float(held.creation_timestamp) / 1000 > _ABANDONED
