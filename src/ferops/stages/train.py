"""Stage `train`: fit a network to the prepared and the augmented training images."""

import json
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
import pandas as pd

from ferops import params as parameters
from ferops.data import augmentation, prepared
from ferops.data.prepared import Split
from ferops.machine.files import SCRATCH
from ferops.model import plots, weights
from ferops.model.networks import descriptors, systems
from ferops.model.training import device, distillation, fitting, frozen_prefix, runtime
from ferops.model.training.batches import Ask, Transform
from ferops.model.training.distillation import Teacher
from ferops.stages.training_progress import TrainingProgress
from ferops.tracking import store
from ferops.tracking.registry import versions

MODELS = Path("models")
REPORTS = Path("reports/train")
COLUMNS = ["epoch", "time", *(f"{split}/{name}" for split in ("train", "val") for name in plots.CURVES)]
"""Of history.csv."""


def main() -> None:
    """Read data/prepared and data/augmented, fit the network of params.yaml, write models/ and reports/train/."""
    params = parameters.load()
    precision = runtime.precision(params.train.precision)
    train, validation = load_images()
    device.distribute(min(params.train.batch_size, len(train[1])))
    core, trainable, base_sha256 = build_networks(params, precision)
    origin = weights.record(Path(params.model.weights)) or {}

    teacher = load_teacher(params.train, precision)
    digest = teacher.digest if teacher else None
    scratch = SCRATCH / scratch_key(params, precision, train, validation, base_sha256, digest)
    with TrainingProgress(params, scratch) as report:
        progress = fit(trainable, params, train, validation, scratch, report, teacher)
    core.set_weights(trainable.get_weights())
    record: dict[str, Any] = {
        "system": core.name,
        "served": descriptors.is_served(core),
        "weights_digest": weights.digest(core),
        "best_epoch": progress.best_epoch,
        "epochs": len(progress.history),
        "started": progress.started,
        "ended": time.time(),
        "seconds": progress.seconds,
        "parameters": systems.counts(core),
        "precision": precision,
        "frozen_prefix": progress.frozen_prefix or None,
        "base_weights": {"name": params.model.weights, "sha256": base_sha256, "trained_by": origin.get("trained_by")},
        "teacher": {
            "name": params.train.teacher,
            "weights_digest": digest,
            "share": params.train.teacher_share,
            "temperature": params.train.teacher_temperature,
        } if teacher else None,
        "scratch_key": scratch.name,
        "milliseconds_an_image": runtime.milliseconds(core, train[0][:1]),
        **runtime.describe(),
    }  # fmt: skip
    MODELS.mkdir(exist_ok=True)
    core.save(MODELS / "core.keras")
    (MODELS / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    REPORTS.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(progress.history, columns=COLUMNS).to_csv(REPORTS / "history.csv", index=False)
    plots.curves(REPORTS / "curves.png", progress.history, progress.best_epoch)
    report.finish(progress, record["weights_digest"], record["ended"])


def load_images() -> tuple[Split, Split]:
    """Load the training images, augmented ones included, and the validation images."""
    original, augmented = prepared.load(Path("data/prepared")), prepared.load(Path("data/augmented"))
    (faces, labels), (more_faces, more_labels) = original.split("train"), augmented.split("train")
    return (np.concatenate([faces, more_faces]), np.concatenate([labels, more_labels])), original.split("validation")


def build_networks(params: parameters.Params, precision: str) -> tuple[keras.Model, keras.Model, str | None]:
    """Build the network twice: in float32, in which it is saved since that runs everywhere, and in training precision.

    Returns:
        The float32 network and the one to train, with the same initial weights, and the sha256 of the file that these
        are from, if any.
    """
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(params.train.seed)
    core = systems.build(params.model)
    is_whole = params.train.epochs == 0
    base_sha256 = weights.initialize(core, params.model.weights, params.train.seed, is_whole=is_whole)
    keras.config.set_dtype_policy(precision)
    trainable = systems.build(params.model)
    trainable.set_weights(core.get_weights())
    return core, trainable, base_sha256


def load_teacher(settings: parameters.Train, precision: str) -> Teacher | None:
    """Load the teacher that `train.teacher` names, if any.

    Raises:
        BadTeacher, WeightsUnfit: a file is missing, or not what it should be.
        NoStore, TrackingUnreachable, MissingArtifact: of a registered model.
    """
    if not (name := settings.teacher):
        return None
    if name.startswith("models:/"):
        with store.session(create=False), TemporaryDirectory() as scratch:
            network = distillation.load(versions.download(f"{name}/data", Path(scratch)) / "model.keras", precision)
    else:
        network = distillation.load(Path(name), precision)
    return Teacher(network, settings.teacher_temperature)


def scratch_key(
    params: parameters.Params,
    precision: str,
    train: Split,
    validation: Split,
    base_sha256: str | None,
    teacher_digest: str | None = None,
) -> str:
    """Return the name of a training's scratch folder, by its parameters, images, initial weights and teacher."""
    settings = params.model_dump(mode="json", include={"augment": {"warp"}, "model": True, "train": True})
    settings |= {"precision": precision, "teacher_digest": teacher_digest}
    return fitting.scratch_key(settings, [*train, *validation], base_sha256)


def fit(
    network: keras.Model,
    params: parameters.Params,
    train: Split,
    validation: Split,
    scratch: Path,
    report: TrainingProgress,
    teacher: Ask | None = None,
) -> fitting.Progress:
    """Fit a network of `build_networks` in place, in the way that its parameters ask for.

    Raises:
        Diverged: the loss of an epoch is not finite.
    """
    graph, inputs = systems.training_graph(network), (train[0], validation[0])
    if frozen_prefix.is_worth_computing(params.model, params.train) and not device.is_used(network):
        graph, inputs = frozen_prefix.prepare(
            network, inputs, params.model, params.train, scratch, say=report.say, on_batch=report.on_features
        )
    elif params.train.resize_epochs:
        graph = systems.any_size(network)
    with frozen_prefix.deleted_after(scratch):
        return fitting.fit(
            graph,
            (inputs[0], train[1]),
            (inputs[1], validation[1]),
            params.train,
            scratch,
            transform=Transform(
                partial(augmentation.draw, params.augment.warp), augmentation.apply, augmentation.apply_on_device
            ),
            teacher=teacher,
            on_batch=report.on_batch,
            on_epoch=report.on_epoch,
        )
