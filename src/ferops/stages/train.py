"""Stage `train`: fit a network to the prepared and the augmented training images."""

import json
import shutil
import time
from functools import partial
from pathlib import Path
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
from ferops.model.training import device, fitting, frozen_prefix, runtime
from ferops.model.training.batches import Transform
from ferops.stages.training_progress import TrainingProgress

MODELS = Path("models")
REPORTS = Path("reports/train")
FEATURES = "features"
"""Folder in the scratch folder of a training."""


def main() -> None:
    """Read data/prepared and data/augmented, fit the network of params.yaml, write models/ and reports/train/."""
    params = parameters.load()
    precision = runtime.precision(params.train.precision)
    train, validation = load_images()
    device.distribute(min(params.train.batch_size, len(train[1])))
    core, trainable, base_sha256 = build_networks(params.model, precision, params.train.seed)

    settings = params.model_dump(mode="json", include={"augment": {"warp"}, "model": True, "train": True})
    scratch_key = fitting.scratch_key(settings | {"precision": precision}, [*train, *validation], base_sha256)
    scratch = SCRATCH / scratch_key
    with TrainingProgress(params, scratch_key) as report:
        network, inputs = systems.training_graph(trainable), (train[0], validation[0])
        if frozen_prefix.is_worth_computing(params.model, params.train) and not device.is_used(trainable):
            network, inputs = compute_frozen_prefix(trainable, inputs, params, scratch, report)
        elif params.train.resize_epochs:
            network = systems.any_size(trainable)
        try:
            progress = fitting.fit(
                network,
                (inputs[0], train[1]),
                (inputs[1], validation[1]),
                params.train,
                scratch,
                transform=Transform(
                    partial(augmentation.draw, params.augment.warp), augmentation.apply, augmentation.apply_on_device
                ),
                on_batch=report.on_batch,
                on_epoch=report.on_epoch,
            )
        except fitting.Diverged:
            shutil.rmtree(scratch / FEATURES, ignore_errors=True)
            raise
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
        "base_weights": {"name": params.model.weights, "sha256": base_sha256},
        "scratch_key": scratch_key,
        "milliseconds_an_image": runtime.milliseconds(core, train[0][:1]),
        **runtime.describe(),
    }
    MODELS.mkdir(exist_ok=True)
    core.save(MODELS / "core.keras")
    (MODELS / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    REPORTS.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(progress.history).to_csv(REPORTS / "history.csv", index=False)
    plots.curves(REPORTS / "curves.png", progress.history, progress.best_epoch)
    report.finish(progress, record["weights_digest"], record["ended"])
    shutil.rmtree(scratch / FEATURES, ignore_errors=True)


def load_images() -> tuple[Split, Split]:
    """Load the training images, augmented ones included, and the validation images."""
    original, augmented = prepared.load(Path("data/prepared")), prepared.load(Path("data/augmented"))
    (faces, labels), (more_faces, more_labels) = original.split("train"), augmented.split("train")
    return (np.concatenate([faces, more_faces]), np.concatenate([labels, more_labels])), original.split("validation")


def build_networks(model: parameters.Model, precision: str, seed: int) -> tuple[keras.Model, keras.Model, str | None]:
    """Build the network twice: in float32, in which it is saved since that runs everywhere, and in training precision.

    Returns:
        The float32 network and the one to train, with the same initial weights, and the sha256 of the file that these
        are from, if any.
    """
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(seed)
    core = systems.build(model)
    base_sha256 = weights.initialize(core, model.weights, seed)
    keras.config.set_dtype_policy(precision)
    trainable = systems.build(model)
    trainable.set_weights(core.get_weights())
    return core, trainable, base_sha256


def compute_frozen_prefix(
    network: keras.Model, faces: tuple[Any, Any], params: parameters.Params, scratch: Path, report: TrainingProgress
) -> tuple[keras.Model, tuple[Any, Any]]:
    """Compute what the frozen blocks make of the training and the validation faces, once for all epochs.

    Returns:
        The network behind the frozen blocks, and the features of both that it takes; or what was given, where the disk
        has no space for them.
    """
    parts, folder = frozen_prefix.split(network, params.model.scaling), scratch / FEATURES
    progress, size = fitting.load_progress(scratch), frozen_prefix.size(parts.prefix, sum(map(len, faces)))
    if not progress.frozen_prefix:
        shutil.rmtree(folder, ignore_errors=True)  # a killed process may have left half of them
        folder.mkdir(parents=True)
        if progress.history:
            return network, faces  # the whole network was trained so far, for want of space
        if size > (free := shutil.disk_usage(folder).free):
            report.say(
                f"the features of {parts.block} would take {size / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free: "
                "its blocks are computed in every epoch"
            )
            return network, faces
        progress.frozen_prefix = {"last_block": parts.block, "bytes": size, "seconds": 0.0}
    if fitting.is_over(progress, params.train):
        return parts.rest, faces  # nothing reads them any more

    features, before = [], progress.seconds
    for name, images in zip(("train", "validation"), faces, strict=True):
        path, started = folder / f"{name}.npy", time.time()
        if (found := frozen_prefix.load(path)) is None:
            found = frozen_prefix.compute(parts.prefix, images, path, report.on_features)
            seconds = time.time() - started
            progress.frozen_prefix["seconds"] += seconds
            progress.seconds += seconds
            progress.save(scratch)
        features.append(found)
    how = f"were computed once, in {progress.seconds - before:.0f} s" if progress.seconds > before else "were read"
    report.say(
        f"{parts.block} and what is before it are frozen, and see the same images in every epoch: "
        f"their features, {size / 1e6:,.0f} MB, {how}"
    )
    return parts.rest, (features[0], features[1])
