"""Reads from an open store: runs by a filter, files of a run, and None where MLflow has no such thing."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from ferops.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run

_T = TypeVar("_T")

_MISSING: Final = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # of an alias MLflow says the second
_PAGE: Final = 1000  # runs in one answer: MLflow's default


def or_none(call: Callable[..., _T], *args: str) -> _T | None:
    """Call a method of MLflow's client with a name that may not exist; return None where it does not."""
    from mlflow.exceptions import MlflowException

    try:
        return call(*args)
    except MlflowException as error:
        if error.error_code not in _MISSING:
            raise
        return None


def search_runs(store: Store, filter_string: str, *, deleted: bool = False) -> "list[Run]":
    """Return all runs of the experiment that match a filter, in the order of their start.

    Args:
        store: the open store.
        filter_string: in MLflow's syntax.
        deleted: include runs in MLflow's bin.
    """
    from mlflow.entities import ViewType

    view = ViewType.ALL if deleted else ViewType.ACTIVE_ONLY
    order = ["attributes.start_time ASC"]
    runs: list[Run] = []
    token: str | None = ""
    while token is not None:
        page = store.client.search_runs([store.experiment_id], filter_string, view, _PAGE, order, token or None)
        runs += page
        token = page.token or None
    return runs


def read_artifact(store: Store, run_id: str, path: str) -> bytes | None:
    """Return the content of a run's artifact; None where MLflow does not have it."""
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as scratch:
        try:
            return Path(store.client.download_artifacts(run_id, path, scratch)).read_bytes()
        except (MlflowException, OSError):
            return None
