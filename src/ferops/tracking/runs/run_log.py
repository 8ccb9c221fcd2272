"""What is logged to a run: parameters, epochs, metrics, and the uncommitted difference."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from ferops.tracking.runs import describe

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

_T = TypeVar("_T")

_METRICS_AT_ONCE: Final = 1000  # MLflow's limits
_PARAMS_AT_ONCE: Final = 100

_SAME_MOMENT: Final = 1.0  # seconds by which the time of an epoch may differ between a file and the store


class Epoch(NamedTuple):
    """One finished epoch: 1-based number, metrics (`train/loss`, ...), Unix time of its end in seconds."""

    epoch: int
    metrics: Mapping[str, float]
    time: float


def log_params(client: "MlflowClient", run: "Run", values: Mapping[str, str]) -> None:
    """Log the parameters that a run lacks; those it has stay, since MLflow refuses another value."""
    from mlflow.entities import Param

    missing = [Param(key, value) for key, value in values.items() if key not in run.data.params]
    for batch in _batches(missing, _PARAMS_AT_ONCE):
        client.log_batch(run.info.run_id, params=batch)


def log_metrics(client: "MlflowClient", run_id: str, metrics: "Sequence[Metric]") -> None:
    """Log metrics, in as many requests as MLflow's limit needs."""
    for batch in _batches(metrics, _METRICS_AT_ONCE):
        client.log_batch(run_id, metrics=batch)


def log_epochs(client: "MlflowClient", run_id: str, epochs: Iterable[Epoch]) -> None:
    """Log epochs: step = epoch, timestamp = its end."""
    from mlflow.entities import Metric

    metrics = [
        Metric(name, float(value), milliseconds(epoch.time), epoch.epoch)
        for epoch in epochs
        for name, value in epoch.metrics.items()
    ]
    log_metrics(client, run_id, metrics)


def logged_epochs(client: "MlflowClient", run: "Run") -> dict[int, float]:
    """Return the epochs that a run has, with their Unix times in seconds."""
    series = next((name for name in ("val/loss", *sorted(run.data.metrics)) if name in run.data.metrics), None)
    points = client.get_metric_history(run.info.run_id, series) if series else []
    return {point.step: point.timestamp / 1000 for point in points if point.step > 0}


def same_attempt(logged: Mapping[int, float], history: Iterable[Epoch]) -> bool:
    """Return whether logged epochs belong to a history, by their times.

    The last one may be missing in the history: logged, but not saved before the training was killed.
    """
    times = {epoch.epoch: epoch.time for epoch in history}
    ahead = set(logged) - set(times)
    return all(abs(logged[n] - times[n]) < _SAME_MOMENT for n in logged if n in times) and ahead <= {
        max(times, default=0) + 1
    }


def log_diff(client: "MlflowClient", run_id: str, diff: bytes) -> None:
    """Log the uncommitted changes at the start of a training: together with the commit they are what ran."""
    if not diff or len(diff) > describe.MAX_DIFF:
        return
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, Path(describe.DIFF).name)
        path.write_bytes(diff)
        client.log_artifact(run_id, str(path), str(Path(describe.DIFF).parent))


def milliseconds(seconds: float) -> int:
    """Convert a Unix time in seconds to MLflow's milliseconds."""
    return round(seconds * 1000)


def _batches(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
