"""Publishing: a training in MLflow as its record wants it, and the version of its weights.

Every step is idempotent: what exists is kept, what is missing is added, and an interrupted publish is completed.
"""

import contextlib
import importlib.metadata
import io
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from ferops.labels import NAMES, SIDE
from ferops.tracking import mutex, record, runs, store
from ferops.tracking.outputs import Outputs, read_outputs
from ferops.tracking.pages import report
from ferops.tracking.record import EXPERIMENTS, FACTS, FILES, REBUILT, TRAINING, WEIGHTS
from ferops.tracking.registry import ledger, versions
from ferops.tracking.registry.versions import CHALLENGER, EXPORTED
from ferops.tracking.runs import Synced
from ferops.tracking.store import Store, no_retries

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

_REQUIREMENTS: Final = ("tensorflow", "keras", "numpy")
_WAIT: Final = 120.0  # seconds to wait for another process that publishes the same training
_PURPOSE: Final = "Expressions of gray 48x48 faces; load the alias `champion`. Not for decisions about people."
_GONE: Final = "rebuilt from DVC's files: the system metrics of the training are lost"


class Publication(NamedTuple):
    """The result of a publish.

    Fields:
        outputs: what was published. store: where.
        training: its run. evaluation: the run that has the evaluation, the same or a child run.
        version: of the registered model; None where the network was not registered.
        is_new: whether the version was created here. aliases: of the version.
    """

    outputs: Outputs
    store: Store
    training: Synced
    evaluation: Synced
    version: "ModelVersion | None"
    is_new: bool
    aliases: tuple[str, ...]


def publish(
    params: Mapping[str, Any],
    load_model: Callable[[float], Any],
    root: Path = Path(),
    *,
    path: Path | None = None,
    is_registered: bool | None = None,
    set_challenger: bool = True,
) -> Publication:
    """Update MLflow with the pipeline's outputs below `root`.

    Args:
        params: flattened parameters of this pipeline.
        load_model: loads the Keras model to register, calibrated by a temperature, from raw uint8 faces (N, 48, 48) to
            probabilities (N, 7); called only where its files have to be logged.
        root: the folder that the stages ran in.
        path: of registry.jsonl; by default the one below `root`.
        is_registered: make a version; by default where this is no DVC experiment, whose trainings are runs alone.
        set_challenger: set the alias `challenger` on a version that has never had it.

    Raises:
        NotTrained, MissingOutput: the pipeline has not run to its end.
        TrackingUnreachable: the store cannot be opened, or went away.
        TrackingFailed: the store refused a request.
        Busy: another process has been publishing the same training for two minutes.
    """
    outputs = read_outputs(params, root)
    experiment, path = record.experiment(), path or root / ledger.REGISTRY
    is_registered = experiment is None if is_registered is None else is_registered
    version, model_id, is_new = None, None, False
    # without a lock, two clones that publish the same training at once would create two runs of it
    with (
        store.session() as opened,
        mutex.lock(opened, f"publish-{outputs.identity[:16]}", "publishing this training", wait=_WAIT),
    ):
        one = record.trained(outputs)
        training = runs.sync(opened, one, {REBUILT: _GONE})
        # a network that is no Keras graph from pixels to probabilities is not registered
        if is_registered and outputs.training.get("served", True):
            known = [line for line in ledger.lines(path) if line["weights_digest"] == outputs.weights_digest]
            found = versions.find(opened, outputs.model, outputs.weights_digest)
            version = _register(opened, outputs, found, training.run.info.run_id, load_model, known)
            is_new, model_id = found is None, _model_id(version)
            _add_events(opened, outputs, version, path, known, set_challenger=set_challenger)
        wanted = record.evaluated(outputs, one)
        attached = training.run.data.tags.get(FILES)
        if (
            experiment
            and attached not in (None, wanted.tags[FILES])
            and experiment not in runs.experiments(training.run)
        ):
            wanted = record.evaluated_again(outputs, wanted, experiment, training.run.info.run_id)
        evaluation = runs.sync(opened, wanted, model_id=model_id)
        run_id, names = evaluation.run.info.run_id, runs.experiments(evaluation.run)
        if experiment and experiment not in names:  # experiments with the same result share one run
            opened.client.set_tag(run_id, EXPERIMENTS, ",".join([*names, experiment]))
        if experiment is None:
            ledger.sync(opened, path)
        aliases = versions.aliases_of(opened, version) if version else ()
        return Publication(outputs, opened, training, evaluation, version, is_new, aliases)


def _register(
    opened: Store,
    outputs: Outputs,
    version: "ModelVersion | None",
    run_id: str,
    load_model: Callable[[float], Any],
    known: Sequence[ledger.Event],
) -> "ModelVersion":
    """Return the version of these weights with its model, model card, description and tags as they should be."""
    from mlflow.exceptions import MlflowException

    client, model, digest = opened.client, outputs.model, outputs.weights_digest
    description = report.linked(report.note(outputs), opened.experiment_id, run_id)
    tags = {**outputs.labels, TRAINING: outputs.identity, FACTS: json.dumps(outputs.facts), WEIGHTS: digest}
    if version is None:
        logged = _logged_model(opened, run_id, digest)
        logged = logged or _log_model(opened, load_model(outputs.temperature), run_id, digest)
        with contextlib.suppress(MlflowException):  # it exists, or the next call raises the reason
            client.create_registered_model(model, description=_PURPOSE)
        # MLflow tries three times to get the next number, which ten publishers at once need more often
        with mutex.lock(opened, f"register-{model}", "a registration", wait=_WAIT), no_retries():
            version = client.create_model_version(
                model, f"models:/{logged}", run_id, tags=tags, description=description, model_id=logged
            )
        # the UI's link from a run to its version
        link = json.dumps([{"name": model, "version": version.version}])
        client.set_logged_model_tags(logged, {"mlflow.modelVersions": link})
    elif (model_id := _model_id(version)) and not _has_files(opened, model_id):
        _log_model(opened, load_model(outputs.temperature), run_id, digest, model_id)
    _log_beside(opened, outputs, version)
    for key, value in tags.items():
        if version.tags.get(key) != value:
            client.set_model_version_tag(model, version.version, key, value)
    if known and known[0]["version"] != int(version.version):
        description += f"\n\nVersion {known[0]['version']} in {ledger.REGISTRY}: MLflow has counted anew."
    if version.description != description:
        client.update_model_version(model, version.version, description)
    return client.get_model_version(model, version.version)


def _add_events(
    opened: Store,
    outputs: Outputs,
    version: "ModelVersion",
    path: Path,
    known: Sequence[ledger.Event],
    *,
    set_challenger: bool,
) -> None:
    """Set the alias `challenger` on a version that never had it, and write the events that the version lacks.

    Those of the same weights in the ledger belong to it: the store was lost.
    """
    events = [*known, *(event for event in ledger.history(version) if event not in known)]
    is_challenger = any(event.get("alias") == CHALLENGER for event in events)
    if set_challenger and not (is_challenger and CHALLENGER in versions.aliases(opened, version.name)):
        opened.client.set_registered_model_alias(version.name, CHALLENGER, version.version)
    alias = CHALLENGER if set_challenger and not is_challenger else None
    trainings = [event["training"] for event in events if event["event"] in ("registered", "reproduced")]
    if alias or outputs.identity not in trainings:
        kind = "alias set" if outputs.identity in trainings else "reproduced" if trainings else "registered"
        facts = {
            "alias": alias,
            "experiment": record.experiment(),
            "dvc_lock": outputs.facts["dvc_lock"],
            "metrics": outputs.headline,
            "dataset": {"name": outputs.dataset, "md5": outputs.data_md5},
        }
        events.append(ledger.new_event(kind, version, **facts))
    for event in events:
        ledger.record(opened, version, event, path)


def _model_id(version: "ModelVersion") -> str | None:
    """Return the id of a version's logged model: databases do not store it, but the version's source names it."""
    source = str(version.source)
    return source.removeprefix("models:/") if source.startswith("models:/m-") else None


def _has_files(opened: Store, model_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    with contextlib.suppress(MlflowException, OSError):
        return any(file.path == "MLmodel" for file in opened.client.list_logged_model_artifacts(model_id))
    return False


def _logged_model(opened: Store, run_id: str, digest: str) -> str | None:
    """Return the model that an interrupted publish had logged completely; delete what it had logged in part."""
    wanted = f"tags.`{WEIGHTS}` = '{digest}' AND source_run_id = '{run_id}'"
    found = opened.client.search_logged_models([opened.experiment_id], wanted)
    for model in found:
        if model.status != "READY":
            opened.client.delete_logged_model(model.model_id)
    return next((str(model.model_id) for model in found if model.status == "READY"), None)


def _log_beside(opened: Store, outputs: Outputs, version: "ModelVersion") -> None:
    """Log exported network and model card among the files of a version's model, where it has others or none."""
    model_id = _model_id(version)
    if model_id is None:
        return
    if outputs.exported and versions.read(version, versions.EXPORTED_CARD) != outputs.exported[-1].read_text("utf-8"):
        for file in outputs.exported:
            opened.client.log_model_artifact(model_id, str(file), EXPORTED)
    if versions.read(version, versions.MODEL_CARD) != (card := report.card(outputs)):
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch, versions.MODEL_CARD)
            file.write_text(card, encoding="utf-8")
            opened.client.log_model_artifact(model_id, str(file))


def _log_model(opened: Store, keras_model: Any, run_id: str, digest: str, model_id: str | None = None) -> str:
    """Log the model with signature, input example and pinned requirements; return its id, new where none is given.

    In single steps, since `mlflow.keras.log_model` fails with an input example, `mlflow.tensorflow.log_model` needs an
    active run and changes its end time, and neither logs the files of a model again. Without `pip_requirements` MLflow
    loads the model in another process, for half a minute, to infer them.
    """
    import mlflow.tensorflow
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    client = opened.client
    if model_id is None:
        tags, params = {WEIGHTS: digest}, client.get_run(run_id).data.params
        with no_retries():
            created = client.create_logged_model(opened.experiment_id, "model", run_id, tags=tags, params=params)
            client.log_outputs(run_id, [LoggedModelOutput(created.model_id, step=0)])
        model_id = created.model_id
    model = client.get_logged_model(model_id)
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
