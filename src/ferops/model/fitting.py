"""Training loop: early stopping on validation accuracy, a checkpoint after each epoch, deterministic resume."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from ferops.errors import FeropsError
from ferops.labels import NAMES
from ferops.machine.files import replacing
from ferops.model.averaging import MovingAverage
from ferops.model.batches import Batches, Change, Faces, Labels, Targets, mixup, one_hot, smooth
from ferops.model.networks import descriptors
from ferops.params import Train

Transform = Callable[[Faces, int, np.random.Generator], Faces]
"""Faces of a batch, epoch (from 1), random numbers -> the changed faces."""

EpochMetrics = dict[str, float]
"""One epoch: `epoch` (from 1), `time` (Unix s), `train/<metric>` and `val/<metric>`."""

MOMENTUM: Final = 0.9
"""Of SGD."""


class Diverged(FeropsError):
    """The loss of an epoch is not finite: its weights are useless, and further epochs would not mend them."""


@dataclass
class Progress:
    """State of a training after its last finished epoch; saved as JSON beside the checkpoints.

    Fields:
        history: every epoch.
        started: Unix time in seconds. seconds: spent in epochs.
    """

    history: list[EpochMetrics]
    started: float
    seconds: float = 0.0

    @property
    def best_epoch(self) -> int:
        """The first epoch with the highest validation accuracy, from 1; 0 before the first."""
        best = max(self.history, key=lambda row: (row["val/accuracy"], -row["epoch"]), default={"epoch": 0})
        return int(best["epoch"])


def fit(
    model: keras.Model,
    train: tuple[Faces, Labels],
    validation: tuple[Faces, Labels],
    settings: Train,
    scratch: Path,
    *,
    transform: Transform | None = None,
    on_batch: Callable[[int, int, int], None] = lambda _epoch, _batch, _batches: None,
    on_epoch: Callable[[EpochMetrics], None] = lambda _row: None,
) -> Progress:
    """Train a network with early stopping, within epochs and minutes; it ends with the weights of the best epoch.

    A checkpoint is saved in `scratch` after each epoch. Called again with the same folder, the training resumes after
    the last finished epoch, with the data order and random numbers of an uninterrupted one.

    Args:
        model: the network with its initial weights; changed in place.
        train: faces uint8 (N, 48, 48) and labels int64 (N,).
        validation: the same for the split that chooses epoch and end.
        settings: the `train` section of params.yaml.
        scratch: folder of this training alone (see `scratch_key`), made where missing.
        transform: changes the faces of every training batch.
        on_batch: called after every batch with epoch and batch, from 1, and the number of batches.
        on_epoch: called after every epoch, once its checkpoint is saved.

    Raises:
        Diverged: the loss of an epoch is not finite; no checkpoint is saved of it.
    """
    faces, labels = train
    steps = math.ceil(len(labels) / settings.batch_size)
    _compile(model, settings, steps)
    inputs = partial(descriptors.inputs, model)
    validation_inputs, validation_targets = inputs(validation[0]), one_hot(validation[1])
    progress = load_progress(scratch)
    average = MovingAverage(model, settings.average) if settings.average else None
    _resume(model, average, progress, scratch, steps)
    while not _is_over(progress, settings):
        epoch = len(progress.history) + 1
        started = time.time()
        _reseed(model, settings.seed, epoch)
        batches = Batches(
            faces,
            labels,
            settings.batch_size,
            inputs,
            order=np.random.default_rng([settings.seed, epoch]).permutation(len(labels)),
            change=_change(settings, epoch, transform),
        )
        ticker = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs, epoch=epoch: on_batch(epoch, batch + 1, steps)
        )
        callbacks = [ticker, average] if average else [ticker]
        fitted = model.fit(batches, epochs=1, verbose=0, shuffle=False, callbacks=callbacks).history
        with average.applied() if average else nullcontext():
            validated = model.evaluate(
                validation_inputs, validation_targets, batch_size=256, verbose=0, return_dict=True
            )
        if not math.isfinite(fitted["loss"][0] + validated["loss"]):
            raise Diverged(
                f"the loss of epoch {epoch} is not a finite number: the training diverged; "
                "lower train.learning_rate, or set train.clip_norm, as to 1.0"
            )
        row = {"epoch": epoch, "time": time.time()}
        row |= {f"train/{name}": float(value) for name, (value,) in fitted.items()}
        row |= {f"val/{name}": float(value) for name, value in validated.items()}
        progress.history.append(row)
        progress.seconds += time.time() - started
        _save_checkpoint(model, average, progress, scratch)
        on_epoch(row)
    model.load_weights(_weights_file(scratch, progress.best_epoch, is_average=average is not None))
    return progress


def is_clean(settings: Train, epoch: int) -> bool:
    """Tell whether an epoch, from 1, is one of the last `clean_epochs`, without mixup, brightness and erasing."""
    return epoch > settings.epochs - settings.clean_epochs


def scratch_key(settings: Mapping[str, Any], arrays: Iterable[NDArray[Any]], base_sha256: str | None) -> str:
    """Return the name of a training's scratch folder: a hash of everything that its checkpoints depend on.

    Args:
        settings: parameters, as JSON.
        arrays: images and labels.
        base_sha256: of the file of the initial weights.
    """
    code = sorted(Path(__file__).parent.rglob("*.py"))
    parts = {
        "params": settings,
        "data": [hashlib.sha256(array.data).hexdigest() for array in arrays],
        "base": base_sha256,
        "code": [hashlib.sha256(path.read_bytes()).hexdigest() for path in code],
        "backend": keras.config.backend(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


def load_progress(scratch: Path) -> Progress:
    """Read how far an interrupted training came; `fit` resumes there."""
    state = scratch / "progress.json"
    if not state.is_file():
        return Progress(history=[], started=time.time())
    return Progress(**json.loads(state.read_text(encoding="utf-8")))


def optimizer(settings: Train, steps: int) -> keras.optimizers.Optimizer:
    """Build the optimizer with its schedule; biases and norms do not decay.

    Args:
        settings: the `train` section of params.yaml.
        steps: batches in an epoch.
    """
    warmup = min(settings.warmup_epochs, settings.epochs - 1)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else settings.learning_rate,
        (settings.epochs - warmup) * steps,
        alpha=1.0 if settings.schedule == "constant" else 0.0,  # the share of the rate that is left at the end
        warmup_target=settings.learning_rate if warmup else None,
        warmup_steps=warmup * steps,
    )
    is_sgd = settings.optimizer == "sgd"
    build = partial(keras.optimizers.SGD, momentum=MOMENTUM, nesterov=True) if is_sgd else keras.optimizers.Adam
    # Keras subtracts SGD's decay from the weights, past the momentum, which would amplify a term of the loss
    decay = settings.weight_decay / (1 - MOMENTUM) if is_sgd else settings.weight_decay
    chosen = build(rate, weight_decay=decay or None, global_clipnorm=settings.clip_norm or None)
    chosen.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return chosen


def _of_classes(metric: Any) -> Any:
    """Derive a metric class that counts a mixed or smoothed target as the class of its greatest share."""

    class OfClasses(metric):  # type: ignore[misc]
        def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
            classes = ops.one_hot(ops.argmax(y_true, axis=-1), len(NAMES))
            return super().update_state(classes, y_pred, sample_weight)

    return OfClasses


def _compile(model: keras.Model, settings: Train, steps: int) -> None:
    model.compile(
        optimizer=optimizer(settings, steps),
        loss="categorical_crossentropy",
        metrics=[
            keras.metrics.CategoricalAccuracy(name="accuracy"),
            _of_classes(keras.metrics.BinaryAccuracy)(name="binary_accuracy"),
            _of_classes(keras.metrics.Precision)(name="precision"),
            _of_classes(keras.metrics.Recall)(name="recall"),
            _of_classes(keras.metrics.F1Score)("micro", threshold=0.5, name="f1"),
        ],
        # XLA on a CPU is slower than TensorFlow's own kernels
        jit_compile=False if keras.config.backend() == "tensorflow" else "auto",
    )
    model.optimizer.build(model.trainable_variables)


def _resume(model: keras.Model, average: MovingAverage | None, progress: Progress, scratch: Path, steps: int) -> None:
    """Load the last checkpoint, where there is one, into the model and its average."""
    if not (done := len(progress.history)):
        return
    if average:
        model.load_weights(_weights_file(scratch, done, is_average=True))
        average.start(epochs=done, steps=steps)
    model.load_weights(_weights_file(scratch, done))


def _is_over(progress: Progress, settings: Train) -> bool:
    done = len(progress.history)
    if done >= settings.epochs or done - progress.best_epoch >= settings.patience:
        return True
    # an epoch that would end late is not started
    return bool(done and settings.minutes and progress.seconds * (1 + 1 / done) > 60 * settings.minutes)


def _change(settings: Train, epoch: int, transform: Transform | None) -> Change:
    """Return the function that transforms the batches of an epoch, smooths their targets and mixes their images."""
    mixed = 0.0 if is_clean(settings, epoch) else settings.mixup

    def change(faces: Faces, targets: Targets, batch: int) -> tuple[Faces, Targets]:
        rng = np.random.default_rng([settings.seed, epoch, batch])
        if transform is not None:
            faces = transform(faces, epoch, rng)
        targets = smooth(targets, settings.label_smoothing)
        return mixup(faces, targets, rng) if mixed and rng.random() < mixed else (faces, targets)

    return change


def _reseed(model: keras.Model, seed: int, epoch: int) -> None:
    """Seed noise and dropout by the epoch, so that they do not depend on how often the training was interrupted."""
    for offset, layer in enumerate(model.layers):
        if (generator := getattr(layer, "seed_generator", None)) is not None:
            generator.state.assign(np.array([seed + offset, epoch], dtype=generator.state.dtype))


def _save_checkpoint(model: keras.Model, average: MovingAverage | None, progress: Progress, scratch: Path) -> None:
    """Save weights and optimizer, then progress.json: killed in between, the former checkpoint is still the last."""
    epoch, has_average = len(progress.history), average is not None
    last = _weights_file(scratch, epoch)
    kept = {last, _weights_file(scratch, progress.best_epoch, is_average=has_average)}
    with replacing(last) as file:
        model.save_weights(file)
    if average:
        averaged = _weights_file(scratch, epoch, is_average=True)
        kept.add(averaged)
        with average.applied(), replacing(averaged) as file:
            model.save_weights(file)
    with replacing(scratch / "progress.json") as file:
        file.write_text(json.dumps(vars(progress)), encoding="utf-8")
    for file in set(scratch.glob("epoch-*.weights.h5")) - kept:
        file.unlink()


def _weights_file(scratch: Path, epoch: int, *, is_average: bool = False) -> Path:
    return scratch / f"epoch-{epoch:04d}{'.average' if is_average else ''}.weights.h5"
