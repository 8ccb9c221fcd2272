"""Stage `train`: a network on the prepared and the augmented training images."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

import ferops.model
from ferops import params as parameters
from ferops.data import augmentation, prepared
from ferops.machine.files import SCRATCH
from ferops.model import fitting, plots, runtime, weights
from ferops.model.networks import descriptors, systems, vgg16_transfer
from ferops.stages.progress import EpochBar
from ferops.tracking.runs.live import LiveRun

MODELS = Path("models")
REPORTS = Path("reports/train")


def main() -> None:
    """Read data/prepared and data/augmented; write models/ and reports/train/, epoch by epoch also to MLflow."""
    params = parameters.load()
    original, added = prepared.load(Path("data/prepared")), prepared.load(Path("data/augmented"))
    (faces, labels), (more_faces, more_labels) = original.split("train"), added.split("train")
    faces, labels = np.concatenate([faces, more_faces]), np.concatenate([labels, more_labels])
    validation = original.split("validation")

    core, base_sha256 = _core(params.model, params.train.seed)
    keras.config.set_dtype_policy(params.train.precision)
    duplicate = systems.build(params.model)
    duplicate.set_weights(core.get_weights())

    key = fitting.scratch_key(
        {
            "params": params.model_dump(mode="json", include={"augment": {"warp"}, "model": True, "train": True}),
            "data": [_digest(array) for array in (faces, labels, *validation)],
            "base": base_sha256,
            "code": [_digest(path.read_bytes()) for path in sorted(Path(ferops.model.__path__[0]).rglob("*.py"))],
            "backend": keras.config.backend(),
        }
    )
    scratch = SCRATCH / key
    before = fitting.history(scratch)
    live = LiveRun.open(key, parameters.flatten(params), history=[_epoch(row) for row in before])
    with EpochBar(params.train.epochs, done=before) as bar:

        def on_epoch(row: fitting.Row) -> None:
            bar.finish(row)
            live.log_epoch(*_epoch(row))

        try:
            progress = fitting.fit(
                systems.fitted(duplicate),
                (faces, labels),
                validation,
                params.train,
                scratch,
                transform=lambda epoch: _transform(params, epoch),
                hooks=fitting.Hooks(on_batch=bar.advance, on_epoch=on_epoch),
            )
        except fitting.Diverged:
            live.fail()
            raise

    if (done := len(progress.history)) < params.train.epochs:
        print(f"ended after {done} of {params.train.epochs} epochs, {progress.seconds / 60:.1f} minutes")
    core.set_weights(duplicate.get_weights())
    digest = weights.digest(core)
    ended = time.time()
    MODELS.mkdir(exist_ok=True)
    core.save(MODELS / "core.keras")
    record = {
        "system": params.model.name,
        "served": descriptors.is_served(core),
        "weights_digest": digest,
        "best_epoch": progress.best_epoch,
        "epochs": len(progress.history),
        "started": progress.started,
        "ended": ended,
        "seconds": progress.seconds,
        "milliseconds_an_image": runtime.milliseconds(core, faces[:1]),
        "parameters": vgg16_transfer.counts(core)._asdict(),
        "base_weights": {"name": params.model.weights, "sha256": base_sha256},
        "scratch_key": key,
        **runtime.describe(),
    }
    (MODELS / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    REPORTS.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(progress.history).to_csv(REPORTS / "history.csv", index=False)
    plots.curves(REPORTS / "curves.png", progress.history, progress.best_epoch)
    live.finish(digest, ended)


def _transform(params: parameters.Params, epoch: int) -> fitting.Transform:
    """What an epoch changes in its images: warp, brightness, erasing."""
    is_clean = fitting.is_clean(params.train, epoch)

    def transform(batch: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        if params.train.online_augmentation:
            batch = augmentation.warp(batch, params.augment.warp, rng)
        if params.train.brightness and not is_clean:
            batch = augmentation.brighten(batch, params.train.brightness, rng)
        if params.train.erasing and not is_clean:
            batch = augmentation.erase(batch, params.train.erasing, rng)
        return batch

    return transform


def _core(settings: parameters.Model, seed: int) -> tuple[keras.Model, str | None]:
    """The network in float32, whatever it trains in: what is saved runs everywhere."""
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(seed)
    core = systems.build(settings)
    return core, weights.initialize(core, settings.weights, seed)


def _digest(content: Any) -> str:
    return hashlib.sha256(content).hexdigest()


def _epoch(row: fitting.Row) -> tuple[int, dict[str, float], float]:
    metrics = {name: value for name, value in row.items() if name not in ("epoch", "time")}
    return int(row["epoch"]), metrics, row["time"]
