"""MLflow runs brought to their wanted state: find the run of a record, compare the two, add what is missing."""

import json
import shutil
import tempfile
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from ferops.tracking import mutex, record, store
from ferops.tracking.lineage import PREPARED, current_commit
from ferops.tracking.outputs import DataSet, Epoch
from ferops.tracking.pages import report
from ferops.tracking.record import DIFF, EXPERIMENTS, FACTS, FILES, NOTE, TRAINING, WEIGHTS, Record
from ferops.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run

ABANDONED: Final = "KILLED"
"""Status of an attempt that no training will resume."""

BEST: Final = "best_acc_val"
"""Metric of a sweep's run: the best trial's final accuracy on validation."""

_PAGE: Final = 1000  # runs in one answer: MLflow's default
_METRICS_AT_ONCE: Final = 1000  # MLflow's limit
_MAX_LENGTH: Final = 500  # characters of a param: the lowest limit among MLflow's versions
_SAME_MOMENT: Final = 1.0  # seconds by which the time of an epoch may differ between a file and the store
_WAIT: Final = 30.0  # seconds to wait for another process that opens the same sweep


class Difference(NamedTuple):
    """What a run lacks of its record; `ends`: its status or end time is another."""

    params: Mapping[str, str]
    epochs: tuple[Epoch, ...]
    metrics: Mapping[str, float]
    dataset: DataSet | None
    files: Mapping[str, Path | str | bytes]
    tags: Mapping[str, str]
    ends: bool


class Synced(NamedTuple):
    """A run that is as its record wants it: where it came from, and whether anything was added."""

    run: "Run"
    state: Literal["found", "adopted", "created"]
    is_changed: bool


class SweepRun(NamedTuple):
    """The open run of a sweep: its id, and the address of its page."""

    run_id: str
    page: str


def sync(opened: Store, wanted: Record, created: Mapping[str, str] = {}, model_id: str | None = None) -> Synced:
    """Bring the run of a record to its wanted state; the run is created where there is none.

    Args:
        opened: the open store.
        wanted: the record.
        created: further tags of a run that is created here.
        model_id: of the logged model that the metrics belong to.
    """
    if run := find(opened, wanted):
        is_changed = complete(opened, run, wanted, model_id)
        return Synced(run, "found" if wanted.identity in run.data.tags else "adopted", is_changed)
    run = create(opened, wanted, created)
    return Synced(run, "created", complete(opened, run, wanted, model_id))


def find(opened: Store, wanted: Record) -> "Run | None":
    """Return the run of a record; one that was deleted by hand is restored, since others refer to it.

    A training that was not published before may have been logged live: that run has its weights' digest, or, where it
    was killed, its epochs.
    """
    value = wanted.tags.get(wanted.identity) or wanted.origin[wanted.identity]
    found = search(opened, f"tags.`{wanted.identity}` = '{value}'", deleted=True)
    if not found:
        return _live_run(opened, wanted) if wanted.identity == TRAINING else None
    run = next((run for run in found if run.info.lifecycle_stage == "active"), None)
    if run is None:
        opened.client.restore_run(found[0].info.run_id)
        run = opened.client.get_run(found[0].info.run_id)
    return run


def create(opened: Store, wanted: Record, tags: Mapping[str, str] = {}) -> "Run":
    """Create the run of a record, with the tags that never change and the one that identifies it."""
    given = {**wanted.tags, **wanted.origin, **tags}
    for late in (FILES, NOTE):  # they come after what they are about
        given.pop(late, None)
    # MLflow shows tags in the order in which they were set: those for people first
    ordered = sorted(given.items(), key=lambda tag: tag[0].startswith(("x-ferops.", "mlflow.")))
    with store.no_retries():
        run = opened.client.create_run(opened.experiment_id, milliseconds(wanted.started), dict(ordered), wanted.name)
    if wanted.patch:
        _log_files(opened, run.info.run_id, {DIFF: wanted.patch})
    return run


def complete(opened: Store, run: "Run", wanted: Record, model_id: str | None = None) -> bool:
    """Add to a run what it lacks of its record; return whether it lacked anything."""
    if NOTE in wanted.tags:
        note = report.linked(wanted.tags[NOTE], opened.experiment_id, run.info.run_id)
        wanted = replace(wanted, tags={**wanted.tags, NOTE: note})
    logged = logged_epochs(opened, run) if wanted.epochs else {}
    is_same = FILES in wanted.tags and run.data.tags.get(FILES) == wanted.tags[FILES]
    missing = difference(wanted, run, logged, _listed(opened, run, wanted.files) if is_same else ())
    apply(opened, run, wanted, missing, model_id)
    return any(missing)


def difference(wanted: Record, run: "Run", epochs: Collection[int], files: Collection[str]) -> Difference:
    """Compare a record with its run. Params that the run has stay: MLflow refuses another value.

    Args:
        wanted: the record.
        run: as the store has it.
        epochs: numbers of those that it has.
        files: paths of its artifacts that need not be sent again.
    """
    datasets = [one.dataset for one in (run.inputs.dataset_inputs if run.inputs else [])]
    has_dataset = wanted.dataset and any((one.name, one.digest) == wanted.dataset[:2] for one in datasets)
    ended = None if wanted.ended is None else milliseconds(wanted.ended)
    return Difference(
        params={key: value for key, value in wanted.params.items() if key not in run.data.params},
        epochs=tuple(epoch for epoch in wanted.epochs if epoch.epoch not in epochs),
        metrics={key: value for key, value in wanted.metrics.items() if run.data.metrics.get(key) != value},
        dataset=None if has_dataset else wanted.dataset,
        files={path: file for path, file in wanted.files.items() if path not in files},
        tags={key: value for key, value in wanted.tags.items() if run.data.tags.get(key) != value},
        ends=run.info.status != wanted.status or ended not in (None, run.info.end_time),
    )


def apply(opened: Store, run: "Run", wanted: Record, missing: Difference, model_id: str | None = None) -> None:
    """Add what is missing; the tags come last, so that an interrupted call is done again."""
    from mlflow.entities import Metric, Param, RunTag

    client, run_id = opened.client, run.info.run_id
    now, (name, digest, _) = milliseconds(time.time()), wanted.dataset or (None, None, None)
    figures = [Metric(key, value, now, 0, model_id, name, digest) for key, value in missing.metrics.items()]
    client.log_batch(run_id, figures, [Param(key, value) for key, value in missing.params.items()])
    log_epochs(opened, run_id, missing.epochs)
    if missing.dataset:
        _log_dataset(opened, run_id, missing.dataset)
    _log_files(opened, run_id, missing.files)
    if missing.ends and wanted.status == "RUNNING":
        client.update_run(run_id, status=wanted.status)
    elif missing.ends:
        client.set_terminated(run_id, wanted.status, None if wanted.ended is None else milliseconds(wanted.ended))
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in missing.tags.items()])


def log_epochs(opened: Store, run_id: str, epochs: Iterable[Epoch]) -> None:
    """Log epochs: step = epoch, timestamp = its end."""
    from mlflow.entities import Metric

    metrics = [
        Metric(name, float(value), milliseconds(epoch.time), epoch.epoch)
        for epoch in epochs
        for name, value in epoch.metrics.items()
    ]
    for start in range(0, len(metrics), _METRICS_AT_ONCE):
        opened.client.log_batch(run_id, metrics[start : start + _METRICS_AT_ONCE])


def logged_epochs(opened: Store, run: "Run") -> dict[int, float]:
    """Return the epochs that a run has, with their Unix times in seconds."""
    names = sorted(name for name in run.data.metrics if not name.startswith("system/"))
    series = "val/loss" if "val/loss" in names else next(iter(names), None)
    points = opened.client.get_metric_history(run.info.run_id, series) if series else []
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


def unpublished(opened: Store, scratch_key: str) -> "list[Run]":
    """Return the runs of a scratch key that are neither published nor abandoned, newest first."""
    found = search(opened, f"tags.`{record.SCRATCH_KEY}` = '{scratch_key}'")
    return [run for run in reversed(found) if run.info.status != ABANDONED and TRAINING not in run.data.tags]


def search(opened: Store, filter_string: str, *, deleted: bool = False) -> "list[Run]":
    """Return all runs of the experiment that match a filter, in the order of their start.

    Args:
        opened: the open store.
        filter_string: in MLflow's syntax.
        deleted: include runs in MLflow's bin.
    """
    from mlflow.entities import ViewType

    view, order = ViewType.ALL if deleted else ViewType.ACTIVE_ONLY, ["attributes.start_time ASC"]
    found: list[Run] = []
    token: str | None = ""
    while token is not None:
        page = opened.client.search_runs([opened.experiment_id], filter_string, view, _PAGE, order, token or None)
        found += page
        token = page.token or None
    return found


def read_artifact(opened: Store, run_id: str, path: str) -> bytes | None:
    """Return the content of a run's artifact; None where MLflow does not have it."""
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as scratch:
        try:
            return Path(opened.client.download_artifacts(run_id, path, scratch)).read_bytes()
        except (MlflowException, OSError):
            return None


def experiments(run: "Run") -> list[str]:
    """Return the names of the DVC experiments that a run is the result of."""
    return [name for name in run.data.tags.get(EXPERIMENTS, "").split(",") if name]


def find_by_name(opened: Store, name: str) -> "Run | None":
    """Return the latest published run of a DVC experiment, or with this name or id; None where there is none."""
    published = search(opened, f"tags.`{FACTS}` LIKE '%'")
    matching = [run for run in published if name in (run.info.run_id, run.info.run_name, *experiments(run))]
    return matching[-1] if matching else None


def of_experiments(names: Iterable[str]) -> dict[str, str]:
    """Return the ids of the finished runs of DVC experiments, by name; experiments without one are left out."""
    wanted = set(names)
    found: dict[str, str] = {}
    with store.session() as opened:
        finished = search(opened, f"tags.`{EXPERIMENTS}` LIKE '%' and attributes.status = 'FINISHED'")
    for run in reversed(finished):
        found |= dict.fromkeys(wanted & set(experiments(run)), str(run.info.run_id))
    return found


def begin_sweep(name: str, key: str, settings: Mapping[str, Any], source: str) -> SweepRun:
    """Create the run of a sweep, or reopen the run of the same sweep.

    Args:
        name: of the sweep.
        key: tells it from other sweeps of the same name: hash of search space and commit.
        settings: search space and method; the run's params.
        source: the flow's file.

    Returns:
        Its id, which the environment variable `record.SWEEP_RUN` hands to the stages of each trial, and its page.

    Raises:
        TrackingUnreachable, TrackingFailed: the store does not answer, or refuses a request.
        Busy: another process opens the same sweep.
    """
    wanted = Record(
        name=name,
        started=time.time(),
        identity=record.SWEEP,
        origin=record.origin(current_commit(), source=source),
        tags={record.SWEEP: key},
        params={key: str(value)[:_MAX_LENGTH] for key, value in settings.items()},
    )
    with store.session() as opened, mutex.lock(opened, f"sweep-{key[:16]}", "opening this sweep", wait=_WAIT):
        run_id = str(sync(opened, wanted).run.info.run_id)
        return SweepRun(run_id, store.page(opened, run_id))


def end_sweep(run_id: str, files: Iterable[Path], note: str, best: float | None, failed: int) -> None:
    """Log the result of a sweep and end its run; the result of an earlier part of the sweep is replaced.

    Args:
        run_id: of the sweep.
        files: its artifacts.
        note: its description, in Markdown.
        best: the best accuracy on validation; None where no trial succeeded, which ends the run as FAILED.
        failed: number of failed trials.
    """
    with store.session() as opened:
        run = opened.client.get_run(run_id)
        wanted = Record(
            name=run.info.run_name,
            started=run.info.start_time,
            identity=record.SWEEP,
            tags={NOTE: note},
            metrics={"failed": float(failed), **({} if best is None else {BEST: round(best, 4)})},
            files={file.name: file for file in files},
            status="FAILED" if best is None else "FINISHED",
        )
        complete(opened, run, wanted)


def end_pruned(experiment: str, history: Iterable[Mapping[str, float]]) -> None:
    """End the open run of a pruned trial as KILLED, the nearest that MLflow has; its tag `accuracy` says PRUNED.

    Args:
        experiment: name of the trial's DVC experiment.
        history: its epochs, as in the checkpoint; those that the run lacks are logged.
    """
    epochs = [
        Epoch(int(row["epoch"]), {name: value for name, value in row.items() if "/" in name}, row["time"])
        for row in history
    ]
    with store.session() as opened:
        for run in search(opened, f"tags.`{EXPERIMENTS}` = '{experiment}' and attributes.status = 'RUNNING'"):
            logged = logged_epochs(opened, run)
            log_epochs(opened, run.info.run_id, (epoch for epoch in epochs if epoch.epoch not in logged))
            opened.client.set_tag(run.info.run_id, "accuracy", f"PRUNED after epoch {len(epochs)}")
            opened.client.set_terminated(run.info.run_id, ABANDONED)


def milliseconds(seconds: float) -> int:
    """Convert a Unix time in seconds to MLflow's milliseconds."""
    return round(seconds * 1000)


def _live_run(opened: Store, wanted: Record) -> "Run | None":
    """Return the run that was logged live: by its weights' digest, or by its epochs where it was killed before."""
    candidates = unpublished(opened, wanted.origin[record.SCRATCH_KEY])
    for run in candidates:
        if run.data.tags.get(WEIGHTS) == wanted.tags[WEIGHTS]:
            return run
    for run in candidates:
        logged = logged_epochs(opened, run)
        if set(logged) <= {epoch.epoch for epoch in wanted.epochs} and same_attempt(logged, wanted.epochs):
            return run
    return None


def _listed(opened: Store, run: "Run", files: Iterable[str]) -> set[str]:
    """Return the paths of a run's artifacts in the folders of the given ones."""
    folders = {str(Path(name).parent) for name in files}
    return {file.path for folder in folders for file in opened.client.list_artifacts(run.info.run_id, folder)}


def _log_files(opened: Store, run_id: str, files: Mapping[str, Path | str | bytes]) -> None:
    if not files:
        return
    with tempfile.TemporaryDirectory() as scratch:
        for path, source in files.items():
            target = Path(scratch, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(source, Path):
                shutil.copyfile(source, target)
            else:
                target.write_bytes(source.encode() if isinstance(source, str) else source)
        opened.client.log_artifacts(run_id, scratch)


def _log_dataset(opened: Store, run_id: str, dataset: DataSet) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.exceptions import MlflowException

    faces = {"type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": [-1, 48, 48]}}
    entity = Dataset(
        dataset.name,
        dataset.digest,
        source_type="local",
        source=json.dumps({"uri": PREPARED}),
        schema=json.dumps({"mlflow_tensorspec": {"features": json.dumps([faces]), "targets": None}}),
        profile=json.dumps(dataset.profile),
    )
    inputs = [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])]
    try:
        opened.client.log_inputs(run_id, inputs)
    except MlflowException:
        # MLflow looks the data set up, then inserts it: another training with the same data may have been in between
        opened.client.log_inputs(run_id, inputs)
