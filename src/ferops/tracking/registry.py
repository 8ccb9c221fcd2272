"""The registered model `fer-vgg16`: one version for one set of weights, and a line in git for each."""

import contextlib
import importlib.metadata
import io
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ferops.labels import NAMES, SIDE
from ferops.tracking import describe
from ferops.tracking.live import TRAINING, WEIGHTS_DIGEST
from ferops.tracking.outputs import Outputs
from ferops.tracking.store import MODEL, Store, once

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHALLENGER: Final = "challenger"
REGISTRY: Final = Path("reports/registry.jsonl")

_STATE: Final = "ferops.state"  # pending until the alias stands: a publish that was cut off is finished by the next one
_REQUIREMENTS: Final = ("tensorflow", "keras", "numpy")


class Served(NamedTuple):
    """What is registered: a Keras model from raw uint8 faces (N, 48, 48) to probabilities (N, 7), and an example."""

    model: Any
    example: NDArray[np.uint8]


class Version(NamedTuple):
    """A version of the registered model, and whether this process made it."""

    number: int
    model_id: str | None
    is_new: bool


def register(store: Store, outputs: Outputs, run_id: str, serve: Callable[[], Served]) -> Version:
    """The version with these weights; made, with the alias `challenger`, where the registry has none.

    Args:
        store: the open store.
        outputs: what the pipeline wrote.
        run_id: the run of these weights.
        serve: gives the model; called only where the weights are new, so that Keras is imported only then.
    """
    digest = str(outputs.training["weights_digest"])
    found = _find(store, digest)
    version = found or _create(store, outputs, run_id, digest, serve)
    if version.tags.get(_STATE) == "pending":
        store.client.set_registered_model_alias(MODEL, CHALLENGER, version.version)
        store.client.set_model_version_tag(MODEL, version.version, _STATE, "registered")
    # a database keeps no model_id with a version: its source names it
    model_id = str(version.source).removeprefix("models:/") if str(version.source).startswith("models:/m-") else None
    return Version(int(version.version), model_id, is_new=found is None)


def describe_version(store: Store, outputs: Outputs, version: Version) -> None:
    """Bring a version's description and headline figures up to date."""
    number = str(version.number)
    now = store.client.get_model_version(MODEL, number)
    note = _note(outputs)
    if now.description != note:
        store.client.update_model_version(MODEL, number, description=note)
    for key, value in _tags(outputs).items():
        if now.tags.get(key) != value:
            store.client.set_model_version_tag(MODEL, number, key, value)


def aliases(store: Store, version: Version) -> list[str]:
    """The aliases that stand on a version now."""
    model = store.client.get_registered_model(MODEL)
    return sorted(alias for alias, number in model.aliases.items() if int(number) == version.number)


def record(outputs: Outputs, version: Version) -> bool:
    """Append the version to reports/registry.jsonl, once; True where a line was written."""
    path = outputs.root / REGISTRY
    digest = str(outputs.training["weights_digest"])
    if any(line.get("weights_digest") == digest and line.get("version") == version.number for line in lines(path)):
        return False
    line = {
        "time": round(time.time(), 3),
        "event": "registered",
        "model": MODEL,
        "version": version.number,
        "alias": CHALLENGER,
        "weights_digest": digest,
        "training": outputs.identity,
        "metrics": dict(outputs.headline),
        "dataset": {"name": outputs.report.get("dataset"), "md5": outputs.data_md5},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")
    return True


def lines(path: Path) -> list[Mapping[str, Any]]:
    """The events of a registry.jsonl, in order; none where there is no file."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _find(store: Store, digest: str) -> "ModelVersion | None":
    found = store.client.search_model_versions(f"name = '{MODEL}' and tags.`{WEIGHTS_DIGEST}` = '{digest}'")
    return min(found, key=lambda version: int(version.version), default=None)


def _create(store: Store, outputs: Outputs, run_id: str, digest: str, serve: Callable[[], Served]) -> "ModelVersion":
    """Log the served model into the run and make a version of it, tagged from its first moment."""
    from mlflow.exceptions import MlflowException

    client = store.client
    model_id = _logged_model(store, run_id, digest) or _log_model(store, serve(), run_id, digest)
    with contextlib.suppress(MlflowException):  # it exists, or the next call says what is wrong
        client.create_registered_model(MODEL, description="Expressions of gray 48x48 faces: seven probabilities.")
    tags = {**_tags(outputs), WEIGHTS_DIGEST: digest, TRAINING: outputs.identity, _STATE: "pending"}
    with once():
        version = client.create_model_version(
            MODEL, f"models:/{model_id}", run_id, tags=tags, description=_note(outputs), model_id=model_id
        )
    # the UI's way from a run to its version
    client.set_logged_model_tags(
        model_id, {"mlflow.modelVersions": json.dumps([{"name": MODEL, "version": version.version}])}
    )
    return client.get_model_version(MODEL, version.version)


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


def _log_model(store: Store, served: Served, run_id: str, digest: str) -> str:
    """Log the model with signature, example and pinned requirements; its id.

    `mlflow.keras.log_model` fails with an input example, and without `pip_requirements` MLflow loads the model in
    another process for half a minute to guess them. `Model.log` is what `mlflow.tensorflow.log_model` calls: called
    directly it takes the run's id, where the other wants an active run and would give it a new end.
    """
    import mlflow.tensorflow
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    mlflow.set_experiment(experiment_id=store.experiment_id)
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.uint8), (-1, SIDE, SIDE))]),
        Schema([TensorSpec(np.dtype(np.float32), (-1, len(NAMES)))]),
    )
    with once(), contextlib.redirect_stdout(io.StringIO()):  # Keras draws a progress bar for the one example
        info = Model.log(
            artifact_path=None,
            flavor=mlflow.tensorflow,
            name="model",
            run_id=run_id,
            tags={WEIGHTS_DIGEST: digest},
            metadata={"labels": list(NAMES), "input": "raw gray faces, uint8 (N, 48, 48)"},
            model=served.model,
            signature=signature,
            input_example=served.example,
            pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in _REQUIREMENTS],
        )
    return str(info.model_id)


def _tags(outputs: Outputs) -> dict[str, str]:
    figures = {name: f"{value:.4f}" for name, value in outputs.headline.items()}
    return {"ferops.dataset": str(outputs.report.get("dataset")), "ferops.data_md5": outputs.data_md5, **figures}


def _note(outputs: Outputs) -> str:
    return describe.note(outputs.params, outputs.report, outputs.training, outputs.headline, outputs.data_md5)
