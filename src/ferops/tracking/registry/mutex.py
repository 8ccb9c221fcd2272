"""A cross-process lock that works on every machine that uses the store: a registered model with a reserved name.

MLflow has no locks and no compare-and-set, but names of registered models are unique: creating one whose name is taken
fails, on SQLite as on a server. So whoever creates the model holds the lock, and deleting the model releases it.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from ferops.errors import FeropsError
from ferops.machine import processes
from ferops.tracking.queries import or_none
from ferops.tracking.store import MODEL, Store, no_retries
from ferops.tracking.tags import PROCESS

if TYPE_CHECKING:
    from mlflow.entities.model_registry import RegisteredModel

_NOTE: Final = "ferops.note"
_ABANDONED: Final = 600.0
"""Seconds after which a lock of another machine is taken over; on this machine it is known whether its process runs."""

_PAUSE: Final = 0.2


class Busy(FeropsError):
    """Another process holds the lock: carries `holder`, the process and its host."""

    def __init__(self, what: str, holder: str) -> None:
        """Name the locked operation and the process that holds the lock."""
        super().__init__(f"{what} is under way: {processes.describe(holder)}; try again when it has ended")
        self.holder = processes.describe(holder)


@contextmanager
def lock(store: Store, name: str, what: str, *, wait: float = 0, note: Any = None) -> Iterator[Any]:
    """Acquire a cross-process lock for a block of code.

    Args:
        store: the open store.
        name: of the lock; letters, digits and dashes.
        what: the locked operation, for messages.
        wait: seconds to wait for the process that holds it.
        note: JSON value for the process that takes the lock over, should this one be killed.

    Yields:
        The note of the killed process that this lock was taken over from; None where it was free.

    Raises:
        Busy: another process holds the lock, and did not release it in time.
    """
    name = f"{MODEL}.{name}"
    taken_over = _acquire(store, name, what, time.monotonic() + wait, note)
    try:
        yield taken_over
    finally:
        with no_retries():  # where no server answers, the next process finds that this one has ended
            _release(store, name)


def _acquire(store: Store, name: str, what: str, deadline: float, note: Any) -> Any:
    from mlflow.exceptions import MlflowException

    taken_over = None
    while True:
        try:
            with no_retries():
                store.client.create_registered_model(
                    name,
                    tags={PROCESS: processes.this_process(), _NOTE: json.dumps(note)},
                    description=f"A lock, held for a moment: {what}.",
                )
        except MlflowException as error:
            # where the name is taken MLflow looks the model up for its message, and it may be deleted by then
            if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
                raise
        else:
            return taken_over
        held = _holder(store, name)
        if held is None:
            continue
        process = held.tags.get(PROCESS, "")
        if _is_abandoned(held, process):
            # under a lock of its own: two processes that see the same dead one would delete each other's new lock
            takeover = f"{name}.{held.creation_timestamp}"
            _acquire(store, takeover, what, deadline, None)
            try:
                again = _holder(store, name)
                if again is not None and again.creation_timestamp == held.creation_timestamp:
                    taken_over = json.loads(held.tags.get(_NOTE, "null"))
                    _release(store, name)
            finally:
                _release(store, takeover)
        elif time.monotonic() >= deadline:
            raise Busy(what, process)
        else:
            time.sleep(_PAUSE)


def _holder(store: Store, name: str) -> "RegisteredModel | None":
    return or_none(store.client.get_registered_model, name)


def _release(store: Store, name: str) -> None:
    or_none(store.client.delete_registered_model, name)


def _is_abandoned(held: "RegisteredModel", process: str) -> bool:
    if processes.is_local(process):
        return not processes.is_running(process)
    return time.time() - float(held.creation_timestamp) / 1000 > _ABANDONED
