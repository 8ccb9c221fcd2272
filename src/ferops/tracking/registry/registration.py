"""Registration: one version for one set of weights, with its model, its alias `challenger` and its events."""

import contextlib
import importlib.metadata
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from ferops.labels import NAMES, SIDE
from ferops.tracking.registry import ledger
from ferops.tracking.registry.versions import CHALLENGER, find
from ferops.tracking.runs import describe, report
from ferops.tracking.runs.outputs import Outputs
from ferops.tracking.store import MODEL, Store, no_retries
from ferops.tracking.tags import DVC_LOCK, STATE, TRAINING, WAS_CHALLENGER, WEIGHTS_DIGEST

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

_REQUIREMENTS: Final = ("tensorflow", "keras", "numpy")
_TRAININGS: Final = ("registered", "reproduced")  # events that name a training
_TRIES: Final = 20  # MLflow tries three times to get a version number; ten concurrent publishers need more


class Version(NamedTuple):
    """A version of the registered model: number, id of its logged model, and whether this process created it."""

    number: int
    model_id: str | None
    is_new: bool


def register(
    store: Store, outputs: Outputs, run_id: str, load_model: Callable[[], Any], path: Path, *, set_challenger: bool
) -> Version | None:
    """Return the version with these weights, and register it where there is none.

    Weights that another training has given before now belong to this training: the event `reproduced`.

    Args:
        store: the open store.
        outputs: of the pipeline.
        run_id: the run of these weights.
        load_model: loads the model, from raw uint8 faces (N, 48, 48) to probabilities (N, 7); called only where it has
            to be logged, so that Keras is imported only then.
        path: of registry.jsonl. Weights in it get their old number again, where that is free, and new weights get a
            number that is not in it: fer-vgg16/3 means the same weights before and after a store was lost.
        set_challenger: set the alias `challenger` on a version that has never had it. Weights that are trained
            again do not get it, nor do those of a DVC experiment: the last of fifty trials is not the one to promote.

    Returns:
        The version; None where the network is not a Keras graph.
    """
    if not outputs.is_served:
        return None
    digest = outputs.weights_digest
    events = ledger.lines(path)
    known = [line for line in events if line["event"] in _TRAININGS and line["weights_digest"] == digest]
    found = find(store, digest)
    if found is None:
        used = max((int(line["version"]) for line in events), default=0)
        version = _create(store, outputs, run_id, digest, load_model, int(known[0]["version"]) if known else used + 1)
    else:
        version = found
        _restore_model(store, version, run_id, load_model)
    number = str(version.version)
    if set_challenger and WAS_CHALLENGER not in version.tags:
        store.client.set_registered_model_alias(MODEL, CHALLENGER, number)
        store.client.set_model_version_tag(MODEL, number, WAS_CHALLENGER, "true")
    for event in _new_events(version, outputs, known, is_challenger=set_challenger or WAS_CHALLENGER in version.tags):
        ledger.record(store, event, path)
    for key, value in ((TRAINING, outputs.identity), (STATE, "registered")):
        if version.tags.get(key) != value:
            store.client.set_model_version_tag(MODEL, number, key, value)
    return Version(int(number), _model_id(version), is_new=found is None)


def _new_events(
    version: "ModelVersion", outputs: Outputs, known: list[ledger.Event], *, is_challenger: bool
) -> Iterator[ledger.Event]:
    """Yield the events that a version lacks: registered, reproduced by another training, set as challenger."""
    recorded = ledger.history(version)
    if version.tags.get(STATE) == "pending":
        if not known or known[0]["version"] != int(version.version):
            known = [_registered(version, outputs, CHALLENGER if is_challenger else None)]
        recorded += known
        yield from known
    if all(line["training"] != outputs.identity for line in recorded):
        yield ledger.new_event("reproduced", version, training=outputs.identity, dvc_lock=outputs.dvc_lock_hash)
    if is_challenger and all(line.get("alias") != CHALLENGER for line in recorded):
        yield ledger.new_event("alias set", version, alias=CHALLENGER)


def describe_version(store: Store, outputs: Outputs, run_id: str, number: int) -> None:
    """Update the description and headline figures of a version."""
    now = store.client.get_model_version(MODEL, str(number))
    note = report.note(outputs, store.experiment_id, run_id)
    if now.description != note:
        store.client.update_model_version(MODEL, str(number), description=note)
    for key, value in _tags(outputs).items():
        if now.tags.get(key) != value:
            store.client.set_model_version_tag(MODEL, str(number), key, value)


def _registered(version: "ModelVersion", outputs: Outputs, alias: str | None) -> ledger.Event:
    return ledger.new_event(
        "registered",
        version,
        alias=alias,
        experiment=describe.experiment(),
        dvc_lock=outputs.dvc_lock_hash,
        metrics=dict(outputs.headline),
        dataset={"name": outputs.dataset, "md5": outputs.data_md5},
    )


def _create(
    store: Store, outputs: Outputs, run_id: str, digest: str, load_model: Callable[[], Any], number: int
) -> "ModelVersion":
    """Log the model into the run and create a version of it, with its tags from the start."""
    from mlflow.exceptions import MlflowException

    client = store.client
    model_id = _logged_model(store, run_id, digest) or _log_model(store, load_model(), run_id, digest)
    with contextlib.suppress(MlflowException):  # it exists, or the next call raises the reason
        client.create_registered_model(MODEL, description="Expressions of gray 48x48 faces: seven probabilities.")
    tags = {**_tags(outputs), WEIGHTS_DIGEST: digest, STATE: "pending"}
    note = report.note(outputs, store.experiment_id, run_id)
    tries, reached = _TRIES, 0
    while reached < number:
        try:
            with no_retries():
                version = client.create_model_version(
                    MODEL, f"models:/{model_id}", run_id, tags=tags, description=note, model_id=model_id
                )
        except MlflowException as error:
            tries -= 1
            if tries == 0 or "Giving up" not in str(error):  # other processes took the number each time
                raise
        else:
            reached = int(version.version)
            if reached < number:  # MLflow only counts upwards: numbers below the wanted one are skipped
                client.delete_model_version(MODEL, version.version)
    # the UI's link from a run to its version
    client.set_logged_model_tags(
        model_id, {"mlflow.modelVersions": json.dumps([{"name": MODEL, "version": version.version}])}
    )
    return client.get_model_version(MODEL, version.version)


def _restore_model(store: Store, version: "ModelVersion", run_id: str, load_model: Callable[[], Any]) -> None:
    """Log the model of a version again where its files are missing."""
    from mlflow.exceptions import MlflowException

    model_id = _model_id(version)
    if model_id is None:
        return
    with contextlib.suppress(MlflowException, OSError):
        if any(file.path == "MLmodel" for file in store.client.list_logged_model_artifacts(model_id)):
            return
    _log_model(store, load_model(), run_id, str(version.tags.get(WEIGHTS_DIGEST)), model_id)


def _model_id(version: "ModelVersion") -> str | None:
    """Return the id of a version's logged model: databases do not store it, but the version's source names it."""
    source = str(version.source)
    return source.removeprefix("models:/") if source.startswith("models:/m-") else None


def _logged_model(store: Store, run_id: str, digest: str) -> str | None:
    """Return the model that an interrupted publish had logged completely; delete what it had logged in part."""
    complete = None
    for model in store.client.search_logged_models(
        [store.experiment_id], filter_string=f"tags.`{WEIGHTS_DIGEST}` = '{digest}'"
    ):
        if model.source_run_id != run_id:
            continue
        if model.status == "READY":
            complete = str(model.model_id)
        else:
            store.client.delete_logged_model(model.model_id)
    return complete


def _log_model(store: Store, keras_model: Any, run_id: str, digest: str, model_id: str | None = None) -> str:
    """Log the model with signature, input example and pinned requirements; return its id, new where none is given.

    In single steps, since `mlflow.keras.log_model` fails with an input example, `mlflow.tensorflow.log_model` needs an
    active run and changes its end time, and neither logs the files of a model again. Without `pip_requirements` MLflow
    loads the model in another process, for half a minute, to infer them.
    """
    import mlflow.tensorflow
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    client = store.client
    with no_retries():
        model = (
            client.get_logged_model(model_id)
            if model_id
            else client.create_logged_model(
                store.experiment_id,
                "model",
                run_id,
                tags={WEIGHTS_DIGEST: digest},
                params=client.get_run(run_id).data.params,
            )
        )
        if not model_id:
            client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.uint8), (-1, SIDE, SIDE))]),
        Schema([TensorSpec(np.dtype(np.float32), (-1, len(NAMES)))]),
    )
    metadata = Model(
        artifact_path=model.artifact_location,
        model_uuid=model.model_id,
        model_id=model.model_id,
        run_id=run_id,
        metadata={"labels": list(NAMES), "input": "raw gray faces, uint8 (N, 48, 48)"},
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = str(Path(scratch, "model"))
        with contextlib.redirect_stdout(io.StringIO()):  # Keras prints a progress bar for the one example
            mlflow.tensorflow.save_model(
                keras_model,
                folder,
                mlflow_model=metadata,
                signature=signature,
                # a gray ramp, uint8 (1, 48, 48): faces of the data set are not published
                input_example=np.tile(np.linspace(0, 255, SIDE, dtype=np.uint8), (1, SIDE, 1)),
                pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in _REQUIREMENTS],
            )
        client.log_model_artifacts(model.model_id, folder)
    client.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id)


def _tags(outputs: Outputs) -> dict[str, str]:
    figures = {name: f"{value:.4f}" for name, value in outputs.headline.items()}
    return {
        TRAINING: outputs.identity,
        DVC_LOCK: outputs.dvc_lock_hash,
        "ferops.dataset": outputs.dataset,
        "ferops.data_md5": outputs.data_md5,
        **figures,
    }
