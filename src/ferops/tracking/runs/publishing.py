"""DVC's files into MLflow: one run for one training, found, adopted or rebuilt; then its evaluation and its version.

Everything here can be called again: what is there is left, what is missing is added, what was cut off is finished.
"""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar

from ferops.tracking import store
from ferops.tracking.lineage.identity import PREPARED, current_commit, requirements_hash
from ferops.tracking.registry import ledger, mutex, registration, versions
from ferops.tracking.registry.registration import Version
from ferops.tracking.runs import describe, report
from ferops.tracking.runs.live import (
    epoch_metrics,
    log_diff,
    logged_epochs,
    milliseconds,
    same_attempt,
    unpublished_runs,
)
from ferops.tracking.runs.outputs import SETTINGS, Outputs, read_outputs
from ferops.tracking.store import Store
from ferops.tracking.tags import (
    ATTACHED,
    DVC_LOCK,
    EVALUATION,
    EXPERIMENTS,
    PARENT,
    REBUILT,
    SCRATCH_KEY,
    TRAINING,
    WEIGHTS_DIGEST,
)

if TYPE_CHECKING:
    from mlflow.entities import Run

How = Literal["found", "adopted", "rebuilt"]

_PATIENCE: Final = 120.0  # seconds to wait for another process that publishes this very training
_METRICS_AT_ONCE: Final = 1000  # MLflow's limit
_PARAMS_AT_ONCE: Final = 100


_Item = TypeVar("_Item")


class Publication(NamedTuple):
    """What a publish did: the run and how it was come by, the version and its aliases, the store and the run's page."""

    run_id: str
    run_name: str
    how: How
    is_changed: bool
    version: Version | None
    aliases: tuple[str, ...]
    headline: Mapping[str, float]
    dataset: str
    address: str
    page: str


def publish(
    params: Mapping[str, Any],
    serve: Callable[[], Any],
    root: Path = Path(),
    *,
    path: Path | None = None,
    set_challenger: bool = True,
) -> Publication:
    """Bring MLflow up to date with the pipeline's files below `root`.

    Args:
        params: flattened parameters of this pipeline.
        serve: gives the model to register; called only where its weights are new.
        root: the folder that the stages ran in.
        path: of registry.jsonl; by default the one below `root`.
        set_challenger: whether a version may take the alias `challenger`; a DVC experiment's never does.

    Raises:
        NotTrained, MissingOutput: the pipeline has not run to its end.
        TrackingUnreachable: the store cannot be opened, or went away.
        TrackingFailed: the store refused something.
        Busy: another process has been publishing the same training for two minutes.
    """
    outputs = read_outputs(params, root)
    with store.session() as opened:
        return _publish(opened, outputs, serve, path or root / ledger.REGISTRY, set_challenger)


def _publish(
    opened: Store, outputs: Outputs, serve: Callable[[], Any], path: Path, set_challenger: bool
) -> Publication:
    experiment = describe.experiment()
    is_known = _of_training(opened, outputs) is not None and (
        not outputs.is_served or versions.find(opened, outputs.weights_digest) is not None
    )
    # two clones that publish the same training at once would make two runs of it
    with nullcontext() if is_known else _alone(opened, outputs):
        training, how = _run(opened, outputs)
        run = _evaluated(opened, outputs, training, experiment)
        is_changed = _is_behind(opened, outputs, run)
        if is_changed:
            _complete(opened, outputs, training)
        version = registration.register(
            opened, outputs, training.info.run_id, serve, path, set_challenger=set_challenger and experiment is None
        )
    if is_changed:
        _attach(opened, outputs, run, version)
        if version and run is training:
            registration.describe_version(opened, outputs, run.info.run_id, version.number)
    _name_experiment(opened, run, experiment)
    if experiment is None:
        ledger.sync(opened, path)
    return Publication(
        run_id=run.info.run_id,
        run_name=str(run.info.run_name),
        how=how,
        is_changed=is_changed,
        version=version,
        aliases=versions.aliases_of(opened, version.number) if version else (),
        headline=outputs.headline,
        dataset=describe.dataset_description(str(outputs.report.get("dataset"))),
        address=opened.address,
        page=store.page(opened, run.info.run_id),
    )


def _alone(opened: Store, outputs: Outputs) -> Any:
    return mutex.lock(opened, f"publish-{outputs.identity[:16]}", "publishing this training", wait=_PATIENCE)


def _of_training(opened: Store, outputs: Outputs) -> "Run | None":
    """The run of this training; one that was deleted by hand is taken out of the bin, since its version names it."""
    from mlflow.entities import ViewType

    found = _search(opened, f"tags.`{TRAINING}` = '{outputs.identity}'", ViewType.ALL)
    for run in found:
        if run.info.lifecycle_stage == "active":
            return run
    if not found:
        return None
    opened.client.restore_run(found[0].info.run_id)
    return opened.client.get_run(found[0].info.run_id)


def _run(opened: Store, outputs: Outputs) -> "tuple[Run, How]":
    client = opened.client
    found = _of_training(opened, outputs)
    if found:
        return found, "found"
    live = _live_run(opened, outputs)
    digest = outputs.weights_digest
    if live is not None:
        client.set_tag(live.info.run_id, WEIGHTS_DIGEST, digest)
        client.set_tag(live.info.run_id, TRAINING, outputs.identity)
        return client.get_run(live.info.run_id), "adopted"
    started = float(outputs.training["started"])
    commit = current_commit(outputs.root)
    tags = {
        **describe.run_tags(commit, requirements_hash(outputs.root)),
        SCRATCH_KEY: str(outputs.training.get("scratch_key")),
        WEIGHTS_DIGEST: digest,
        TRAINING: outputs.identity,
        REBUILT: "true",
    }
    name = describe.run_name(outputs.params, started)
    with store.once():
        run = client.create_run(opened.experiment_id, milliseconds(started), tags, name)
    log_diff(client, run.info.run_id, commit.diff if commit else b"")
    return run, "rebuilt"


def _evaluated(opened: Store, outputs: Outputs, training: "Run", experiment: str | None) -> "Run":
    """The run that holds this evaluation: the training's, or its child.

    A child is what a DVC experiment gets that changes only what comes after a training which has its evaluation.
    """
    evaluated = training.data.tags.get(ATTACHED)
    names = training.data.tags.get(EXPERIMENTS, "").split(",")
    if experiment is None or evaluated in (None, outputs.digest) or experiment in names:
        return training
    settings = json.dumps([outputs.identity, outputs.evaluation], sort_keys=True)
    key = hashlib.sha256(settings.encode()).hexdigest()
    found = _search(opened, f"tags.`{EVALUATION}` = '{key}'")
    if found:
        return found[0]
    now = time.time()
    tags = {
        PARENT: training.info.run_id,  # but a sweep's trials all stand under the sweep
        **describe.run_tags(current_commit(outputs.root), requirements_hash(outputs.root)),
        EVALUATION: key,
    }
    with store.once():
        return opened.client.create_run(opened.experiment_id, milliseconds(now), tags, experiment)


def _is_behind(opened: Store, outputs: Outputs, run: "Run") -> bool:
    """Whether a run lacks something of the pipeline's files: it was never attached, or is gone since."""
    if run.data.tags.get(ATTACHED) != outputs.digest or run.info.status != "FINISHED":
        return True
    wanted = {*outputs.files, report.REPORT, SETTINGS}
    folders = {str(Path(name).parent) for name in wanted}
    has = {file.path for folder in folders for file in opened.client.list_artifacts(run.info.run_id, folder)}
    return not wanted <= has


def _name_experiment(opened: Store, run: "Run", experiment: str | None) -> None:
    """Two experiments may come to the same: their run is one, and has both names."""
    names = [name for name in run.data.tags.get(EXPERIMENTS, "").split(",") if name]
    if experiment and experiment not in names:
        opened.client.set_tag(run.info.run_id, EXPERIMENTS, ",".join([*names, experiment]))


def _live_run(opened: Store, outputs: Outputs) -> "Run | None":
    """The run that grew while this network trained: by its digest, or cut off before it got one, by its epochs."""
    key, digest = outputs.training.get("scratch_key"), outputs.weights_digest
    finished = _search(opened, f"tags.`{SCRATCH_KEY}` = '{key}' and tags.`{WEIGHTS_DIGEST}` = '{digest}'")
    for run in reversed(finished):
        if TRAINING not in run.data.tags:
            return run
    for run in unpublished_runs(opened, str(key)):
        logged = logged_epochs(opened.client, run)
        if set(logged) <= {epoch.epoch for epoch in outputs.history} and same_attempt(logged, outputs.history):
            return run
    return None


def _search(opened: Store, filter_string: str, view: int = 1) -> "list[Run]":
    """Runs in the order of their start; `view` is one of MLflow's ViewType, by default those not deleted."""
    order = ["attributes.start_time ASC"]
    return list(opened.client.search_runs([opened.experiment_id], filter_string, view, order_by=order))


def _complete(opened: Store, outputs: Outputs, run: "Run") -> None:
    """Params and epochs that the run lacks, and its true end."""
    from mlflow.entities import Metric, Param

    client, run_id = opened.client, run.info.run_id
    # a param is never logged again: MLflow refuses another value
    params = [
        Param(key, value) for key, value in describe.run_params(outputs.params).items() if key not in run.data.params
    ]
    for some in _batches(params, _PARAMS_AT_ONCE):
        client.log_batch(run_id, params=some)
    logged = logged_epochs(client, run)
    metrics: list[Metric] = [m for epoch in outputs.history if epoch.epoch not in logged for m in epoch_metrics(epoch)]
    for batch in _batches(metrics, _METRICS_AT_ONCE):
        client.log_batch(run_id, metrics=batch)
    ended = milliseconds(float(outputs.training["ended"]))
    if run.info.status != "FINISHED" or run.info.end_time != ended:
        client.set_terminated(run_id, "FINISHED", ended)


def _attach(opened: Store, outputs: Outputs, run: "Run", version: Version | None) -> None:
    """The evaluation: figures that changed, data set, artifacts, tags, description; a child run ends with it."""
    from mlflow.entities import Metric, Param, RunTag

    client, run_id = opened.client, run.info.run_id
    now = milliseconds(time.time())
    name = str(outputs.report.get("dataset"))
    model_id = version.model_id if version else None
    metrics = [
        Metric(key, value, now, 0, model_id=model_id, dataset_name=name, dataset_digest=outputs.data_md5)
        for key, value in outputs.metrics.items()
        if run.data.metrics.get(key) != value
    ]
    for batch in _batches(metrics, _METRICS_AT_ONCE):
        client.log_batch(run_id, metrics=batch)
    _log_dataset(opened, outputs, run)
    with tempfile.TemporaryDirectory() as scratch:
        for path, source in outputs.files.items():
            target = Path(scratch, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        settings = json.dumps(outputs.evaluation, indent=2, sort_keys=True)
        Path(scratch, SETTINGS).write_text(f"{settings}\n", encoding="utf-8")
        Path(scratch, report.REPORT).write_text(report.page(outputs), encoding="utf-8")
        client.log_artifacts(run_id, scratch)
    if EVALUATION in run.data.tags:
        # its training's stand in the training's run, which is above it; among a sweep's trials they are compared
        above = describe.run_params(outputs.params) if describe.sweep_run() else {}
        given = {**above, **{key: str(value) for key, value in outputs.evaluation.items()}}
        settled = [Param(key, value) for key, value in given.items() if key not in run.data.params]
        for some in _batches(settled, _PARAMS_AT_ONCE):
            client.log_batch(run_id, params=some)
        client.set_terminated(run_id, "FINISHED")
    tags = {**_tags(opened, outputs, run_id), ATTACHED: outputs.digest}
    client.log_batch(
        run_id, tags=[RunTag(key, value) for key, value in tags.items() if run.data.tags.get(key) != value]
    )


def _log_dataset(opened: Store, outputs: Outputs, run: "Run") -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.exceptions import MlflowException

    name = str(outputs.report.get("dataset"))
    has = {(item.dataset.name, item.dataset.digest) for item in (run.inputs.dataset_inputs if run.inputs else [])}
    if (name, outputs.data_md5) in has:
        return
    images = sum(sum(counts) for counts in outputs.report.get("kept", {}).values())
    faces = {"type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": [-1, 48, 48]}}
    dataset = Dataset(
        name,
        outputs.data_md5,
        source_type="local",
        source=json.dumps({"uri": PREPARED}),
        schema=json.dumps({"mlflow_tensorspec": {"features": json.dumps([faces]), "targets": None}}),
        profile=json.dumps(
            {"num_rows": images, **{key: outputs.report.get(key) for key in ("source", "split", "kept")}}
        ),
    )
    inputs = [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]
    try:
        opened.client.log_inputs(run.info.run_id, inputs)
    except MlflowException as error:
        # another training on the same data was faster: MLflow looks, then inserts, and the row is there now
        if "unique" not in str(error).lower():
            raise
        opened.client.log_inputs(run.info.run_id, inputs)


def _tags(opened: Store, outputs: Outputs, run_id: str) -> dict[str, str]:
    training, base = outputs.training, outputs.training.get("base_weights") or {}
    facts: dict[str, Any] = {
        DVC_LOCK: outputs.dvc_lock_hash,
        "ferops.dataset": outputs.report.get("dataset"),
        "ferops.data_md5": outputs.data_md5,
        "ferops.keras": training.get("keras"),
        "ferops.backend": " ".join(str(training[key]) for key in ("backend", "backend_version") if training.get(key)),
        "ferops.hardware": training.get("hardware"),
        "ferops.base_weights": base.get("sha256") or base.get("name"),
        "ferops.parameters": (training.get("parameters") or {}).get("total"),
        "mlflow.note.content": report.note(outputs, opened.experiment_id, run_id),
    }
    return {key: str(value) for key, value in facts.items() if value not in (None, "")}


def _batches(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
