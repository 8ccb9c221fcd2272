"""Publishing: the pipeline's outputs as one MLflow run for one training, with its evaluation and its version.

Every step is idempotent: what exists is kept, what is missing is added, and an interrupted publish is completed.
"""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from ferops.tracking import store
from ferops.tracking.lineage.identity import PREPARED, current_commit, requirements_hash
from ferops.tracking.queries import search_runs
from ferops.tracking.registry import ledger, mutex, registration, versions
from ferops.tracking.registry.registration import Version
from ferops.tracking.runs import describe, report
from ferops.tracking.runs.live import unpublished_runs
from ferops.tracking.runs.outputs import SETTINGS, Outputs, read_outputs
from ferops.tracking.runs.run_log import (
    log_diff,
    log_epochs,
    log_metrics,
    log_params,
    logged_epochs,
    milliseconds,
    same_attempt,
)
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

RunState = Literal["found", "adopted", "rebuilt"]
"""Whether the run was published before, was logged live by the training, or was rebuilt from the files."""

_WAIT: Final = 120.0  # seconds to wait for another process that publishes the same training


class Publication(NamedTuple):
    """The result of a publish.

    Fields:
        run_id, run_name: of the run that has the evaluation.
        run_state: where that run comes from. is_changed: something of it was missing or outdated.
        version, aliases: of the registered model; None and empty where the network is not registered.
        headline: the metrics shown first. dataset: its description.
        address: of the store, without credentials. page: of the run, in the UI.
    """

    run_id: str
    run_name: str
    run_state: RunState
    is_changed: bool
    version: Version | None
    aliases: tuple[str, ...]
    headline: Mapping[str, float]
    dataset: str
    address: str
    page: str


def publish(
    params: Mapping[str, Any],
    load_model: Callable[[], Any],
    root: Path = Path(),
    *,
    path: Path | None = None,
    set_challenger: bool = True,
) -> Publication:
    """Update MLflow with the pipeline's outputs below `root`.

    Args:
        params: flattened parameters of this pipeline.
        load_model: loads the Keras model to register, from raw uint8 faces (N, 48, 48) to probabilities (N, 7); called
            only where its weights are new.
        root: the folder that the stages ran in.
        path: of registry.jsonl; by default the one below `root`.
        set_challenger: set the alias `challenger` on a new version; a DVC experiment's version never gets it.

    Raises:
        NotTrained, MissingOutput: the pipeline has not run to its end.
        TrackingUnreachable: the store cannot be opened, or went away.
        TrackingFailed: the store refused a request.
        Busy: another process has been publishing the same training for two minutes.
    """
    outputs = read_outputs(params, root)
    with store.session() as opened:
        return _publish(opened, outputs, load_model, path or root / ledger.REGISTRY, set_challenger)


def _publish(
    opened: Store, outputs: Outputs, load_model: Callable[[], Any], path: Path, set_challenger: bool
) -> Publication:
    experiment = describe.experiment()
    set_challenger = set_challenger and experiment is None
    is_known = _published_run(opened, outputs) is not None and (
        not outputs.is_served or versions.find(opened, outputs.weights_digest) is not None
    )
    # without a lock, two clones that publish the same training at once would create two runs of it
    lock = mutex.lock(opened, f"publish-{outputs.identity[:16]}", "publishing this training", wait=_WAIT)
    with nullcontext() if is_known else lock:
        training, run_state = _training_run(opened, outputs)
        run = _evaluation_run(opened, outputs, training, experiment)
        is_changed = _is_outdated(opened, outputs, run)
        if is_changed:
            _complete(opened, outputs, training)
        version = registration.register(
            opened, outputs, training.info.run_id, load_model, path, set_challenger=set_challenger
        )
    if is_changed:
        _attach_evaluation(opened, outputs, run, version)
        if version and run is training:
            registration.describe_version(opened, outputs, run.info.run_id, version.number)
    experiments = _experiments(run)
    if experiment and experiment not in experiments:  # experiments with the same result share one run
        opened.client.set_tag(run.info.run_id, EXPERIMENTS, ",".join([*experiments, experiment]))
    if experiment is None:
        ledger.sync(opened, path)
    return Publication(
        run_id=run.info.run_id,
        run_name=str(run.info.run_name),
        run_state=run_state,
        is_changed=is_changed,
        version=version,
        aliases=versions.aliases_of(opened, version.number) if version else (),
        headline=outputs.headline,
        dataset=describe.dataset_description(outputs.dataset),
        address=opened.address,
        page=store.page(opened, run.info.run_id),
    )


def _published_run(opened: Store, outputs: Outputs) -> "Run | None":
    """Return the run of this training; one that was deleted by hand is restored, since its version refers to it."""
    found = search_runs(opened, f"tags.`{TRAINING}` = '{outputs.identity}'", deleted=True)
    for run in found:
        if run.info.lifecycle_stage == "active":
            return run
    if not found:
        return None
    opened.client.restore_run(found[0].info.run_id)
    return opened.client.get_run(found[0].info.run_id)


def _training_run(opened: Store, outputs: Outputs) -> "tuple[Run, RunState]":
    """Return the run of this training: published before, logged live, or else rebuilt from the files."""
    client = opened.client
    if published := _published_run(opened, outputs):
        return published, "found"
    digest = outputs.weights_digest
    if live := _live_run(opened, outputs):
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
    with store.no_retries():
        run = client.create_run(opened.experiment_id, milliseconds(started), tags, name)
    log_diff(client, run.info.run_id, commit.diff if commit else b"")
    return run, "rebuilt"


def _live_run(opened: Store, outputs: Outputs) -> "Run | None":
    """Return the run that was logged live: by its weights' digest, or by its epochs where it was killed before."""
    key, digest = outputs.training.get("scratch_key"), outputs.weights_digest
    finished = search_runs(opened, f"tags.`{SCRATCH_KEY}` = '{key}' and tags.`{WEIGHTS_DIGEST}` = '{digest}'")
    for run in reversed(finished):
        if TRAINING not in run.data.tags:
            return run
    for run in unpublished_runs(opened, str(key)):
        logged = logged_epochs(opened.client, run)
        if set(logged) <= {epoch.epoch for epoch in outputs.history} and same_attempt(logged, outputs.history):
            return run
    return None


def _evaluation_run(opened: Store, outputs: Outputs, training: "Run", experiment: str | None) -> "Run":
    """Return the run for this evaluation: the training's, or a child of it.

    A child is for a DVC experiment that changes only what comes after a training that has its own evaluation.
    """
    attached = training.data.tags.get(ATTACHED)
    if experiment is None or attached in (None, outputs.digest) or experiment in _experiments(training):
        return training
    settings = json.dumps([outputs.identity, outputs.evaluation], sort_keys=True)
    key = hashlib.sha256(settings.encode()).hexdigest()
    found = search_runs(opened, f"tags.`{EVALUATION}` = '{key}'")
    if found:
        return found[0]
    tags = {
        PARENT: training.info.run_id,  # unless run_tags has the sweep's: all trials are its children
        **describe.run_tags(current_commit(outputs.root), requirements_hash(outputs.root)),
        EVALUATION: key,
    }
    with store.no_retries():
        return opened.client.create_run(opened.experiment_id, milliseconds(time.time()), tags, experiment)


def _is_outdated(opened: Store, outputs: Outputs, run: "Run") -> bool:
    """Return whether a run lacks this evaluation or one of its files."""
    if run.data.tags.get(ATTACHED) != outputs.digest or run.info.status != "FINISHED":
        return True
    wanted = {*outputs.files, report.REPORT, SETTINGS}
    folders = {str(Path(name).parent) for name in wanted}
    logged = {file.path for folder in folders for file in opened.client.list_artifacts(run.info.run_id, folder)}
    return not wanted <= logged


def _experiments(run: "Run") -> list[str]:
    return [name for name in run.data.tags.get(EXPERIMENTS, "").split(",") if name]


def _complete(opened: Store, outputs: Outputs, run: "Run") -> None:
    """Log the params and epochs that the run lacks, and its end time."""
    client, run_id = opened.client, run.info.run_id
    log_params(client, run, describe.run_params(outputs.params))
    logged = logged_epochs(client, run)
    log_epochs(client, run_id, [epoch for epoch in outputs.history if epoch.epoch not in logged])
    ended = milliseconds(float(outputs.training["ended"]))
    if run.info.status != "FINISHED" or run.info.end_time != ended:
        client.set_terminated(run_id, "FINISHED", ended)


def _attach_evaluation(opened: Store, outputs: Outputs, run: "Run", version: Version | None) -> None:
    """Log the evaluation: metrics that changed, data set, artifacts, tags, description; end a child run."""
    from mlflow.entities import Metric, RunTag

    client, run_id = opened.client, run.info.run_id
    now = milliseconds(time.time())
    model_id = version.model_id if version else None
    metrics = [
        Metric(key, value, now, 0, model_id=model_id, dataset_name=outputs.dataset, dataset_digest=outputs.data_md5)
        for key, value in outputs.metrics.items()
        if run.data.metrics.get(key) != value
    ]
    log_metrics(client, run_id, metrics)
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
        # the parent run has the training's params; a sweep's trials get them too, since the UI compares those runs
        params = describe.run_params(outputs.params) if describe.sweep_run() else {}
        log_params(client, run, params | {key: str(value) for key, value in outputs.evaluation.items()})
        client.set_terminated(run_id, "FINISHED")
    tags = {**_tags(opened, outputs, run_id), ATTACHED: outputs.digest}
    client.log_batch(
        run_id, tags=[RunTag(key, value) for key, value in tags.items() if run.data.tags.get(key) != value]
    )


def _log_dataset(opened: Store, outputs: Outputs, run: "Run") -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.exceptions import MlflowException

    logged = {(item.dataset.name, item.dataset.digest) for item in (run.inputs.dataset_inputs if run.inputs else [])}
    if (outputs.dataset, outputs.data_md5) in logged:
        return
    images = sum(sum(counts) for counts in outputs.report.get("kept", {}).values())
    faces = {"type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": [-1, 48, 48]}}
    dataset = Dataset(
        outputs.dataset,
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
        # MLflow looks the data set up, then inserts it: another training with the same data has inserted it in between
        if "unique" not in str(error).lower():
            raise
        opened.client.log_inputs(run.info.run_id, inputs)


def _tags(opened: Store, outputs: Outputs, run_id: str) -> dict[str, str]:
    training, base = outputs.training, outputs.training.get("base_weights") or {}
    facts: dict[str, Any] = {
        DVC_LOCK: outputs.dvc_lock_hash,
        "ferops.dataset": outputs.dataset,
        "ferops.data_md5": outputs.data_md5,
        "ferops.keras": training.get("keras"),
        "ferops.backend": " ".join(str(training[key]) for key in ("backend", "backend_version") if training.get(key)),
        "ferops.hardware": training.get("hardware"),
        "ferops.base_weights": base.get("sha256") or base.get("name"),
        "ferops.parameters": (training.get("parameters") or {}).get("total"),
        "mlflow.note.content": report.note(outputs, opened.experiment_id, run_id),
    }
    return {key: str(value) for key, value in facts.items() if value not in (None, "")}
