"""The fit: seeded epochs, a checkpoint after each, the best one kept."""

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from keras import ops

from ferops.errors import FeropsError
from ferops.labels import NAMES
from ferops.machine.files import replacing
from ferops.model.averaging import Average
from ferops.model.batches import Batches, Change, Faces, Labels, Targets, mixup, smooth
from ferops.model.networks import descriptors
from ferops.params import Train

Transform = Callable[[Faces, np.random.Generator], Faces]
Row = dict[str, float]
"""One epoch: `epoch` (from 1), `time` (unix s), `train/<metric>` and `val/<metric>`."""

MOMENTUM: Final = 0.9
"""Of SGD."""


class Diverged(FeropsError):
    """The loss of an epoch is not finite: the weights are worth nothing, and no further epoch would mend them."""


@dataclass
class Progress:
    """What is known after the last finished epoch; saved as JSON beside the checkpoint.

    Fields:
        history: every epoch.
        started: Unix time in seconds. seconds: spent in epochs.
        last: file of the weights and the optimizer to go on from; average: of the moving average, where there is one.
        best: file of the best epoch's weights.
    """

    history: list[Row]
    started: float
    seconds: float = 0.0
    last: str | None = None
    average: str | None = None
    best: str | None = None

    @property
    def best_epoch(self) -> int:
        """The first epoch with the highest validation accuracy, from 1; 0 before the first."""
        return int(
            max(self.history, key=lambda row: (row["val/accuracy"], -row["epoch"]), default={"epoch": 0})["epoch"]
        )


@dataclass(frozen=True)
class Hooks:
    """What happens outside while the fit runs."""

    on_batch: Callable[[int, int, int], None] = lambda _epoch, _batch, _batches: None
    on_epoch: Callable[[Row], None] = lambda _row: None


def fit(
    model: keras.Model,
    train: tuple[Faces, Labels],
    validation: tuple[Faces, Labels],
    settings: Train,
    scratch: Path,
    *,
    transform: Callable[[int], Transform] | None = None,
    hooks: Hooks = Hooks(),
) -> Progress:
    """Train until epochs, patience or minutes are used up; the model ends with the weights of the best epoch.

    After each epoch a checkpoint goes into `scratch`. Called again with the same folder it goes on after the last
    finished epoch, with the data order and the random numbers that an undisturbed run would have had.

    Args:
        model: the network, its base filled; changed in place.
        train: faces uint8 (N, 48, 48) and labels int64 (N,).
        validation: the same for the split that chooses epoch and end.
        settings: the `train` section of params.yaml.
        scratch: folder of this training alone (see `scratch_key`), made where missing.
        transform: epoch -> what changes a batch's faces, drawing from the generator it is given; None leaves them as
            they are.
        hooks: called after every batch and every epoch.

    Raises:
        Diverged: an epoch's loss is not finite; no checkpoint is made of it.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    faces, labels = train
    steps = -(-len(labels) // settings.batch_size)
    _compile(model, settings, steps)
    progress = _load(scratch)
    average = _resume(model, settings, progress, scratch, steps)
    inputs = partial(descriptors.inputs, model)
    held_out = Batches(*validation, batch_size=256, inputs=inputs)
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
            change=_change(settings, epoch, transform(epoch) if transform else None),
        )
        ticker = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs, epoch=epoch: hooks.on_batch(epoch, batch + 1, steps)
        )
        callbacks = [ticker, average] if average else [ticker]
        seen = model.fit(batches, epochs=1, verbose=0, shuffle=False, callbacks=callbacks).history
        fitted = _prefixed("train", {name: values[-1] for name, values in seen.items()})
        if average:
            _save(model, scratch, f"epoch-{epoch:04d}.weights.h5")
            average.swap()
        validated = _prefixed("val", model.evaluate(held_out, verbose=0, return_dict=True))
        if not math.isfinite(fitted["train/loss"] + validated["val/loss"]):
            raise Diverged(
                f"the loss of epoch {epoch} is not a finite number: the training diverged; "
                "lower train.learning_rate, or set train.clip_norm, as to 1.0"
            )
        row = {"epoch": epoch, "time": time.time(), **fitted, **validated}
        progress.history.append(row)
        progress.seconds += time.time() - started
        _checkpoint(model, progress, scratch, is_average=average is not None)
        if average:
            average.swap()
        hooks.on_epoch(row)
    if progress.best is not None:
        model.load_weights(scratch / progress.best)
    return progress


def is_clean(settings: Train, epoch: int) -> bool:
    """Whether an epoch, from 1, is one of the last, which see the images nearly as they are."""
    return epoch > settings.epochs - settings.clean_epochs


def scratch_key(parts: dict[str, Any]) -> str:
    """Name of a training's scratch folder: a hash of everything that its checkpoint depends on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


def history(scratch: Path) -> list[Row]:
    """Epochs that an interrupted training has finished; `fit` goes on after them."""
    return _load(scratch).history


def optimizer(settings: Train, steps: int) -> keras.optimizers.Optimizer:
    """The optimizer with its schedule; biases and norms do not decay.

    Args:
        settings: the `train` section of params.yaml.
        steps: batches in an epoch.
    """
    warm = min(settings.warmup_epochs, settings.epochs - 1)
    rising = {"warmup_target": settings.learning_rate, "warmup_steps": warm * steps} if warm else {}
    rate = keras.optimizers.schedules.CosineDecay(
        0.0 if warm else settings.learning_rate,
        (settings.epochs - warm) * steps,
        alpha=1.0 if settings.schedule == "constant" else 0.0,
        **rising,
    )
    clip = settings.clip_norm or None
    chosen: keras.optimizers.Optimizer
    if settings.optimizer == "sgd":
        # Keras takes the decay off the weights, past the momentum; as a term of the loss it would be amplified by it
        decay = settings.weight_decay / (1 - MOMENTUM) or None
        chosen = keras.optimizers.SGD(rate, MOMENTUM, nesterov=True, weight_decay=decay, global_clipnorm=clip)
    else:
        chosen = keras.optimizers.Adam(rate, weight_decay=settings.weight_decay or None, global_clipnorm=clip)
    chosen.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return chosen


class _OfTheClass:
    """A metric that holds predictions to the class with the greatest share in a target that was mixed or smoothed."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Count a batch."""
        hard = ops.one_hot(ops.argmax(y_true, axis=-1), len(NAMES))
        return super().update_state(hard, y_pred, sample_weight)  # type: ignore[misc]


class _Accuracy(_OfTheClass, keras.metrics.CategoricalAccuracy):  # type: ignore[misc]
    pass


class _BinaryAccuracy(_OfTheClass, keras.metrics.BinaryAccuracy):  # type: ignore[misc]
    pass


class _Precision(_OfTheClass, keras.metrics.Precision):  # type: ignore[misc]
    pass


class _Recall(_OfTheClass, keras.metrics.Recall):  # type: ignore[misc]
    pass


def _compile(model: keras.Model, settings: Train, steps: int) -> None:
    model.compile(
        optimizer=optimizer(settings, steps),
        loss="categorical_crossentropy",
        metrics=[
            _Accuracy(name="accuracy"),
            _BinaryAccuracy(name="binary_accuracy"),
            _Precision(name="precision"),
            _Recall(name="recall"),
        ],
        # XLA on a CPU is slower than TensorFlow's own kernels
        jit_compile=False if keras.config.backend() == "tensorflow" else "auto",
    )
    model.optimizer.build(model.trainable_variables)


def _resume(model: keras.Model, settings: Train, progress: Progress, scratch: Path, steps: int) -> Average | None:
    """Load the last checkpoint where there is one; gives the moving average where one is asked for."""
    if not settings.average:
        if progress.last is not None:
            model.load_weights(scratch / progress.last)
        return None
    average = Average(model, settings.average)
    if progress.last is not None and progress.average is not None:
        model.load_weights(scratch / progress.average)
        average.start(epochs=len(progress.history), steps=steps)
        model.load_weights(scratch / progress.last)
    return average


def _is_over(progress: Progress, settings: Train) -> bool:
    done = len(progress.history)
    if done >= settings.epochs or done - progress.best_epoch >= settings.patience:
        return True
    # an epoch that would end late is not begun
    return bool(done and settings.minutes and progress.seconds * (1 + 1 / done) > 60 * settings.minutes)


def _change(settings: Train, epoch: int, transform: Transform | None) -> Change:
    mixed = 0.0 if is_clean(settings, epoch) else settings.mixup

    def change(faces: Faces, targets: Targets, batch: int) -> tuple[Faces, Targets]:
        rng = np.random.default_rng([settings.seed, epoch, batch])
        if transform is not None:
            faces = transform(faces, rng)
        targets = smooth(targets, settings.label_smoothing)
        return mixup(faces, targets, rng) if mixed and rng.random() < mixed else (faces, targets)

    return change


def _prefixed(split: str, metrics: dict[str, float]) -> Row:
    precision, recall = metrics["precision"], metrics["recall"]
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {f"{split}/{name}": float(value) for name, value in {**metrics, "f1": f1}.items()}


def _reseed(model: keras.Model, seed: int, epoch: int) -> None:
    # noise and dropout then do not depend on how often the run was interrupted
    for offset, layer in enumerate(model.layers):
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.state.assign(np.array([seed + offset, epoch], dtype=generator.state.dtype))


def _load(scratch: Path) -> Progress:
    state = scratch / "progress.json"
    if not state.is_file():
        return Progress(history=[], started=time.time())
    return Progress(**json.loads(state.read_text(encoding="utf-8")))


def _checkpoint(model: keras.Model, progress: Progress, scratch: Path, *, is_average: bool) -> None:
    """Save what was validated, then name it in progress.json: killed in between, the former checkpoint still holds."""
    epoch = int(progress.history[-1]["epoch"])
    progress.last = f"epoch-{epoch:04d}.weights.h5"
    progress.average = f"epoch-{epoch:04d}.average.weights.h5" if is_average else None
    validated = progress.average or progress.last
    if progress.best_epoch == epoch:
        progress.best = validated
    _save(model, scratch, validated)
    with replacing(scratch / "progress.json") as state:
        state.write_text(json.dumps(vars(progress)), encoding="utf-8")
    for file in scratch.glob("epoch-*.weights.h5"):
        if file.name not in (progress.last, progress.average, progress.best):
            file.unlink()


def _save(model: keras.Model, scratch: Path, name: str) -> None:
    """Weights and optimizer, under their name only when they are whole."""
    partial = scratch / "partial.weights.h5"
    model.save_weights(partial, overwrite=True)
    partial.replace(scratch / name)
