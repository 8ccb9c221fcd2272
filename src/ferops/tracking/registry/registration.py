"""Registration: one version for one set of weights, with its model, made, found, healed and told of."""

import contextlib
import importlib.metadata
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ferops.labels import NAMES, SIDE
from ferops.tracking.registry import ledger
from ferops.tracking.registry.versions import CHALLENGER, find
from ferops.tracking.runs import describe, report
from ferops.tracking.runs.outputs import Outputs
from ferops.tracking.store import MODEL, Store, once
from ferops.tracking.tags import DVC_LOCK, STATE, TRAINING, WAS_CHALLENGER, WEIGHTS_DIGEST

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

_REQUIREMENTS: Final = ("tensorflow", "keras", "numpy")
_OUT_OF_TRAININGS: Final = ("registered", "reproduced")
_TRIES: Final = 20  # MLflow gives up on a version's number after three; ten publishers at once need more


class Version(NamedTuple):
    """A version of the registered model, and whether this process made it."""

    number: int
    model_id: str | None
    is_new: bool


def register(
    store: Store, outputs: Outputs, run_id: str, serve: Callable[[], Any], path: Path, *, set_challenger: bool
) -> Version | None:
    """The version with these weights; made where the registry has none. None where the network is not a Keras graph.

    Weights that came out of another training too belong to the last one: the event `reproduced`.

    Args:
        store: the open store.
        outputs: what the pipeline wrote.
        run_id: the run of these weights.
        serve: gives the model; called only where it has to be logged, so that Keras is imported only then.
        path: of registry.jsonl; weights that it knows get their old number, where that is free, and new ones a number
            that it has not used: fer-vgg16/3 means the same weights before and after a store was lost.
        set_challenger: set the alias `challenger` on a version that has never had it. Old weights that come back do
            not get it, nor do a DVC experiment's: the last of fifty trials is not the one to promote.
    """
    if not outputs.is_served:
        return None
    digest = outputs.weights_digest
    told = ledger.lines(path)
    known = [line for line in told if line["event"] in _OUT_OF_TRAININGS and line["weights_digest"] == digest]
    found = find(store, digest)
    if found is None:
        used = max((int(line["version"]) for line in told), default=0)
        version = _create(store, outputs, run_id, digest, serve, int(known[0]["version"]) if known else used + 1)
    else:
        version = found
        _heal(store, version, run_id, serve)
    number = str(version.version)
    if set_challenger and WAS_CHALLENGER not in version.tags:
        store.client.set_registered_model_alias(MODEL, CHALLENGER, number)
        store.client.set_model_version_tag(MODEL, number, WAS_CHALLENGER, "true")
    for happened in _news(version, outputs, known, nominated=set_challenger or WAS_CHALLENGER in version.tags):
        ledger.record(store, happened, path)
    for key, value in ((TRAINING, outputs.identity), (STATE, "registered")):
        if version.tags.get(key) != value:
            store.client.set_model_version_tag(MODEL, number, key, value)
    return Version(int(number), _model_id(version), is_new=found is None)


def _news(
    version: "ModelVersion", outputs: Outputs, known: list[ledger.Event], *, nominated: bool
) -> Iterator[ledger.Event]:
    """What is to be told of a version: that it is there, that its weights came out again, that it was challenger."""
    told = ledger.history(version)
    if version.tags.get(STATE) == "pending":
        if not known or known[0]["version"] != int(version.version):
            known = [_registered(version, outputs, CHALLENGER if nominated else None)]
        told += known
        yield from known
    if all(line["training"] != outputs.identity for line in told):
        yield ledger.event("reproduced", version, training=outputs.identity, dvc_lock=outputs.dvc_lock_hash)
    if nominated and all(line.get("alias") != CHALLENGER for line in told):
        yield ledger.event("alias set", version, alias=CHALLENGER)


def describe_version(store: Store, outputs: Outputs, run_id: str, number: int) -> None:
    """Bring a version's description and headline figures up to date."""
    now = store.client.get_model_version(MODEL, str(number))
    note = report.note(outputs, store.experiment_id, run_id)
    if now.description != note:
        store.client.update_model_version(MODEL, str(number), description=note)
    for key, value in _tags(outputs).items():
        if now.tags.get(key) != value:
            store.client.set_model_version_tag(MODEL, str(number), key, value)


def _registered(version: "ModelVersion", outputs: Outputs, alias: str | None) -> ledger.Event:
    return ledger.event(
        "registered",
        version,
        alias=alias,
        experiment=describe.experiment(),
        dvc_lock=outputs.dvc_lock_hash,
        metrics=dict(outputs.headline),
        dataset={"name": outputs.report.get("dataset"), "md5": outputs.data_md5},
    )


def _create(
    store: Store, outputs: Outputs, run_id: str, digest: str, serve: Callable[[], Any], number: int
) -> "ModelVersion":
    """Log the served model into the run and make a version of it, tagged from its first moment."""
    from mlflow.exceptions import MlflowException

    client = store.client
    model_id = _logged_model(store, run_id, digest) or _log_model(store, serve(), run_id, digest)
    with contextlib.suppress(MlflowException):  # it exists, or the next call says what is wrong
        client.create_registered_model(MODEL, description="Expressions of gray 48x48 faces: seven probabilities.")
    tags = {**_tags(outputs), WEIGHTS_DIGEST: digest, STATE: "pending"}
    note = report.note(outputs, store.experiment_id, run_id)
    left, reached = _TRIES, 0
    while reached < number:
        try:
            with once():
                version = client.create_model_version(
                    MODEL, f"models:/{model_id}", run_id, tags=tags, description=note, model_id=model_id
                )
        except MlflowException as error:
            left -= 1
            if left == 0 or "Giving up" not in str(error):  # others took the number each time
                raise
        else:
            reached = int(version.version)
            if reached < number:  # MLflow counts: the numbers before the wanted one are used up
                client.delete_model_version(MODEL, version.version)
    # the UI's way from a run to its version
    client.set_logged_model_tags(
        model_id, {"mlflow.modelVersions": json.dumps([{"name": MODEL, "version": version.version}])}
    )
    return client.get_model_version(MODEL, version.version)


def _heal(store: Store, version: "ModelVersion", run_id: str, serve: Callable[[], Any]) -> None:
    """Log a version's model again where its files are gone."""
    from mlflow.exceptions import MlflowException

    model_id = _model_id(version)
    if model_id is None:
        return
    with contextlib.suppress(MlflowException, OSError):
        if any(file.path == "MLmodel" for file in store.client.list_logged_model_artifacts(model_id)):
            return
    _log_model(store, serve(), run_id, str(version.tags.get(WEIGHTS_DIGEST)), model_id)


def _model_id(version: "ModelVersion") -> str | None:
    """A database keeps no model_id with a version: its source names it."""
    source = str(version.source)
    return source.removeprefix("models:/") if source.startswith("models:/m-") else None


def _logged_model(store: Store, run_id: str, digest: str) -> str | None:
    """A model that an earlier publish logged whole before it was cut off; what it logged in part is deleted."""
    whole = None
    for model in store.client.search_logged_models(
        [store.experiment_id], filter_string=f"tags.`{WEIGHTS_DIGEST}` = '{digest}'"
    ):
        if model.source_run_id != run_id:
            continue
        if model.status == "READY":
            whole = str(model.model_id)
        else:
            store.client.delete_logged_model(model.model_id)
    return whole


def _log_model(store: Store, served: Any, run_id: str, digest: str, model_id: str | None = None) -> str:
    """Log the model with signature, example and pinned requirements; its id, which is new where none is given.

    Step by step, since `mlflow.keras.log_model` fails with an input example, `mlflow.tensorflow.log_model` wants an
    active run and gives it a new end, and neither logs the files of a model again. Without `pip_requirements` MLflow
    loads the model in another process for half a minute to guess them.
    """
    import mlflow.tensorflow
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    client = store.client
    with once():
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
    about = Model(
        artifact_path=model.artifact_location,
        model_uuid=model.model_id,
        model_id=model.model_id,
        run_id=run_id,
        metadata={"labels": list(NAMES), "input": "raw gray faces, uint8 (N, 48, 48)"},
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = str(Path(scratch, "model"))
        with contextlib.redirect_stdout(io.StringIO()):  # Keras draws a progress bar for the one example
            mlflow.tensorflow.save_model(
                served,
                folder,
                mlflow_model=about,
                signature=signature,
                input_example=_example(),
                pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in _REQUIREMENTS],
            )
        client.log_model_artifacts(model.model_id, folder)
    client.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id)


def _example() -> NDArray[np.uint8]:
    """A gray ramp, uint8 (1, 48, 48), as the input example: no face of the data set leaves it."""
    return np.tile(np.linspace(0, 255, SIDE, dtype=np.uint8), (1, SIDE, 1))


def _tags(outputs: Outputs) -> dict[str, str]:
    figures = {name: f"{value:.4f}" for name, value in outputs.headline.items()}
    return {
        TRAINING: outputs.identity,
        DVC_LOCK: outputs.dvc_lock_hash,
        "ferops.dataset": str(outputs.report.get("dataset")),
        "ferops.data_md5": outputs.data_md5,
        **figures,
    }
