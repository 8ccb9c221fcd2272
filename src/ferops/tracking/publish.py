"""DVC's files into MLflow: one run for one training, found, adopted or rebuilt; then its evaluation and its version.

Everything here can be called again: what is there is left, what is missing is added, what was cut off is finished.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar

from ferops.params import Params
from ferops.tracking import describe, registry, store
from ferops.tracking.identity import PREPARED, current_commit
from ferops.tracking.live import (
    SCRATCH_KEY,
    TRAINING,
    WEIGHTS_DIGEST,
    epoch_metrics,
    logged_epochs,
    milliseconds,
    same_attempt,
    unpublished_runs,
)
from ferops.tracking.outputs import Outputs, read_outputs
from ferops.tracking.registry import Served, Version
from ferops.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run

REBUILT: Final = "ferops.rebuilt"

_ATTACHED: Final = (
    "ferops.attached"  # digest of what was attached; written last, so that a cut-off publish is done again
)
_SLOW: Final = "where it needs longer, set MLFLOW_HTTP_REQUEST_TIMEOUT (in seconds)"
_METRICS_AT_ONCE: Final = 1000  # MLflow's limit
_PARAMS_AT_ONCE: Final = 100


_Item = TypeVar("_Item")


class Published(NamedTuple):
    """What a publish did: the run and how it was come by, the version and its aliases, and where to see them."""

    run_id: str
    run_name: str
    how: Literal["found", "adopted", "rebuilt"]
    is_changed: bool
    version: Version
    aliases: tuple[str, ...]
    headline: Mapping[str, float]
    dataset: str
    address: str


def publish(params: Params, serve: Callable[[], Served], root: Path = Path()) -> Published:
    """Bring MLflow up to date with the pipeline's files below `root`.

    Args:
        params: of this pipeline.
        serve: gives the model to register; called only where its weights are new.
        root: the folder that the stages ran in.

    Raises:
        NotTrained, MissingOutput: the pipeline has not run to its end.
        TrackingUnreachable: the store cannot be opened, or went away.
        TrackingFailed: the store refused something.
    """
    outputs = read_outputs(params, root)
    opened = store.connect()
    from mlflow.exceptions import MlflowException

    try:
        with store.publishing(opened):
            return _publish(opened, outputs, serve)
    except (MlflowException, OSError) as error:
        store.connect(retries=0)  # says so where the server has gone
        why = store.reason(error)
        hint = f"; {_SLOW}" if "timed out" in why else ""
        raise store.TrackingFailed(f"MLflow at {opened.address}: {why}{hint}") from error


def _publish(opened: Store, outputs: Outputs, serve: Callable[[], Served]) -> Published:
    run, how = _run(opened, outputs)
    is_changed = run.data.tags.get(_ATTACHED) != outputs.digest or run.info.status != "FINISHED"
    if is_changed:
        _complete(opened, outputs, run)
    version = registry.register(opened, outputs, run.info.run_id, serve)
    if is_changed:
        _attach(opened, outputs, run, version)
        registry.describe_version(opened, outputs, version)
    registry.record(outputs, version)
    return Published(
        run_id=run.info.run_id,
        run_name=str(run.info.run_name),
        how=how,
        is_changed=is_changed,
        version=version,
        aliases=tuple(registry.aliases(opened, version)),
        headline=outputs.headline,
        dataset=describe.dataset_words(str(outputs.report.get("dataset"))),
        address=opened.address,
    )


def _run(opened: Store, outputs: Outputs) -> "tuple[Run, Literal['found', 'adopted', 'rebuilt']]":
    client = opened.client
    found = _search(opened, f"tags.`{TRAINING}` = '{outputs.identity}'")
    if found:
        return found[0], "found"
    live = _live_run(opened, outputs)
    digest = str(outputs.training["weights_digest"])
    if live is not None:
        client.set_tag(live.info.run_id, WEIGHTS_DIGEST, digest)
        client.set_tag(live.info.run_id, TRAINING, outputs.identity)
        return client.get_run(live.info.run_id), "adopted"
    started = float(outputs.training["started"])
    tags = {
        **describe.run_tags(current_commit(outputs.root)),
        SCRATCH_KEY: str(outputs.training.get("scratch_key")),
        WEIGHTS_DIGEST: digest,
        TRAINING: outputs.identity,
        REBUILT: "true",
    }
    name = describe.run_name(outputs.params, started)
    with store.once():
        return client.create_run(opened.experiment_id, milliseconds(started), tags, name), "rebuilt"


def _live_run(opened: Store, outputs: Outputs) -> "Run | None":
    """The run that grew while this network trained: by its digest, or cut off before it got one, by its epochs."""
    key, digest = outputs.training.get("scratch_key"), outputs.training["weights_digest"]
    finished = _search(opened, f"tags.`{SCRATCH_KEY}` = '{key}' and tags.`{WEIGHTS_DIGEST}` = '{digest}'")
    for run in reversed(finished):
        if TRAINING not in run.data.tags:
            return run
    for run in unpublished_runs(opened, str(key)):
        logged = logged_epochs(opened.client, run)
        if set(logged) <= {epoch.epoch for epoch in outputs.history} and same_attempt(logged, outputs.history):
            return run
    return None


def _search(opened: Store, filter_string: str) -> "list[Run]":
    return list(
        opened.client.search_runs([opened.experiment_id], filter_string, order_by=["attributes.start_time ASC"])
    )


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


def _attach(opened: Store, outputs: Outputs, run: "Run", version: Version) -> None:
    """The evaluation: figures that changed, data set, artifacts, tags, description."""
    from mlflow.entities import Metric, RunTag

    client, run_id = opened.client, run.info.run_id
    now = milliseconds(time.time())
    name = str(outputs.report.get("dataset"))
    metrics = [
        Metric(key, value, now, 0, model_id=version.model_id, dataset_name=name, dataset_digest=outputs.data_md5)
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
        Path(scratch, "evaluation/params.json").write_text(outputs.evaluation + "\n", encoding="utf-8")
        client.log_artifacts(run_id, scratch)
    tags = {**_tags(outputs, run), _ATTACHED: outputs.digest}
    client.log_batch(
        run_id, tags=[RunTag(key, value) for key, value in tags.items() if run.data.tags.get(key) != value]
    )


def _log_dataset(opened: Store, outputs: Outputs, run: "Run") -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

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
    opened.client.log_inputs(run.info.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


def _tags(outputs: Outputs, run: "Run") -> dict[str, str]:
    training, base = outputs.training, outputs.training.get("base_weights") or {}
    # the commit is that of the training where it was logged live: a later one is not what ran
    commit = {} if "mlflow.source.git.commit" in run.data.tags else describe.run_tags(current_commit(outputs.root))
    facts: dict[str, Any] = {
        "ferops.dataset": outputs.report.get("dataset"),
        "ferops.data_md5": outputs.data_md5,
        "ferops.keras": training.get("keras"),
        "ferops.backend": " ".join(str(training[key]) for key in ("backend", "backend_version") if training.get(key)),
        "ferops.hardware": training.get("hardware"),
        "ferops.base_weights": base.get("sha256") or base.get("name"),
        "ferops.parameters": (training.get("parameters") or {}).get("total"),
        "mlflow.note.content": describe.note(
            outputs.params, outputs.report, training, outputs.headline, outputs.data_md5
        ),
    }
    return commit | {key: str(value) for key, value in facts.items() if value not in (None, "")}


def _batches(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
