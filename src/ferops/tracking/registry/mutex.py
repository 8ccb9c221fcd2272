"""One at a time, on every machine that uses the store: by the one thing in MLflow that exists at most once, a name.

MLflow has no locks and no compare-and-set. But making a registered model whose name is taken fails, on SQLite as on a
server.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from ferops.errors import FeropsError
from ferops.machine import processes
from ferops.tracking.store import MODEL, Store, once

if TYPE_CHECKING:
    from mlflow.entities.model_registry import RegisteredModel

_HOLDER: Final = "ferops.process"
_NOTE: Final = "ferops.note"
_ABANDONED: Final = 600.0
"""Seconds after which a lock of another machine is taken over; on this machine it is seen whether its process runs."""

_PAUSE: Final = 0.2


class Busy(FeropsError):
    """Another process does just this: carries `holder`, the process in words."""

    def __init__(self, what: str, holder: str) -> None:
        """Say what is being done, and by whom."""
        super().__init__(f"{what} is under way: {processes.describe(holder)}; try again when it has ended")
        self.holder = processes.describe(holder)


@contextmanager
def lock(store: Store, name: str, what: str, *, wait: float = 0, note: Any = None) -> Iterator[Any]:
    """Be the only process inside a block of this name.

    Args:
        store: the open store.
        name: of the block; letters, digits and dashes.
        what: it does, in words.
        wait: seconds to wait for another process; after them `Busy`.
        note: JSON value that whoever takes over from this process, should it be killed, is given.

    Yields:
        The note of a killed process that was inside, else None.

    Raises:
        Busy: naming the process that is inside.
    """
    model = f"{MODEL}.{name}"
    left = _take(store, model, what, time.monotonic() + wait, note)
    try:
        yield left
    finally:
        with once():  # where no server answers, whoever comes next finds that this process is gone
            _drop(store, model)


def _take(store: Store, lock: str, what: str, deadline: float, note: Any) -> Any:
    from mlflow.exceptions import MlflowException

    left = None
    while True:
        try:
            with once():
                store.client.create_registered_model(
                    lock,
                    tags={_HOLDER: processes.this_process(), _NOTE: json.dumps(note)},
                    description=f"A lock, gone in a moment: {what}.",
                )
        except MlflowException as error:
            # MLflow looks at the one that has the name before it says so, and by then it may be gone
            if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
                raise
        else:
            return left
        found = _look(store, lock)
        if found is None:
            continue
        holder = found.tags.get(_HOLDER, "")
        if _is_abandoned(found, holder):
            # one alone may take it away: two that saw the same dead process would drop each other's new lock
            taking = f"{lock}.{found.creation_timestamp}"
            _take(store, taking, what, deadline, None)
            try:
                again = _look(store, lock)
                if again is not None and again.creation_timestamp == found.creation_timestamp:
                    left = json.loads(found.tags.get(_NOTE, "null"))
                    _drop(store, lock)
            finally:
                _drop(store, taking)
        elif time.monotonic() >= deadline:
            raise Busy(what, holder)
        else:
            time.sleep(_PAUSE)


def _is_abandoned(found: "RegisteredModel", holder: str) -> bool:
    if processes.is_local(holder):
        return not processes.is_running(holder)
    return time.time() - float(found.creation_timestamp) / 1000 > _ABANDONED


def _look(store: Store, lock: str) -> "RegisteredModel | None":
    from mlflow.exceptions import MlflowException

    try:
        return store.client.get_registered_model(lock)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _drop(store: Store, lock: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        store.client.delete_registered_model(lock)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
