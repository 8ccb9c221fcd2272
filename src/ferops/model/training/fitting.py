"""Training loop: early stopping on validation accuracy, a checkpoint after each epoch, deterministic resume."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
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
from ferops.model.networks import descriptors
from ferops.model.training import batches, device
from ferops.model.training.averaging import EVERY, MovingAverage
from ferops.model.training.batches import Ask, Batches, Faces, Labels, Transform, one_hot
from ferops.params import Train

EpochMetrics = dict[str, float]
"""One epoch: `epoch` (from 1), `time` (Unix s), `train/<metric>` and `val/<metric>`."""

MOMENTUM: Final = 0.9
"""Of SGD."""

_GREATEST_LOSS: Final = 1e4
"""Of an epoch, in nats: the true classes have probabilities of e^-10,000, and bfloat16 never overflows."""

_EVALUATED: Final = 256
"""Validation images in a batch."""


class Diverged(FeropsError):
    """The loss of an epoch is beyond all bounds: its weights are useless, and further epochs would not mend them."""


class BadCheckpoint(FeropsError):
    """A file of a checkpoint is damaged."""


@dataclass
class Progress:
    """State of a training after its last finished epoch; saved as JSON beside the checkpoints.

    Fields:
        history: every epoch.
        started: Unix time in seconds.
        seconds: spent in epochs, and on the frozen blocks before them.
        frozen_prefix: what those cost where they were computed once: `last_block`, `bytes`, `seconds`.
    """

    history: list[EpochMetrics] = field(default_factory=list)
    started: float = field(default_factory=time.time)
    seconds: float = 0.0
    frozen_prefix: dict[str, Any] = field(default_factory=dict)

    @property
    def best_epoch(self) -> int:
        """The first epoch with the highest validation accuracy, from 1; 0 before the first."""
        best = max(self.history, key=lambda row: (row["val/accuracy"], -row["epoch"]), default={"epoch": 0})
        return int(best["epoch"])

    def save(self, scratch: Path) -> None:
        """Save it for `load_progress`."""
        with replacing(scratch / "progress.json") as file:
            file.write_text(json.dumps(vars(self)), encoding="utf-8")


def fit(
    model: keras.Model,
    train: tuple[Faces, Labels],
    validation: tuple[Faces, Labels],
    settings: Train,
    scratch: Path,
    *,
    transform: Transform = Transform(),  # noqa: B008  # frozen
    teacher: Ask | None = None,
    on_batch: Callable[[int, int, int], None] = lambda _epoch, _batch, _batches: None,
    on_epoch: Callable[[EpochMetrics], None] = lambda _row: None,
) -> Progress:
    """Train a network with early stopping, within epochs and minutes; it ends with the weights of the best epoch.

    With no epoch it stays as it is.

    A checkpoint is saved in `scratch` after each epoch. Called again with the same folder, the training resumes after
    the last finished epoch, with the data order and random numbers of an uninterrupted one.

    Args:
        model: the network with its initial weights; changed in place.
        train: faces uint8 (N, 48, 48), or what a network of `frozen_prefix` takes, and labels int64 (N,).
        validation: the same for the split that chooses epoch and end.
        settings: the `train` section of params.yaml.
        scratch: folder of this training alone (see `scratch_key`), made where missing.
        transform: changes the faces of every training batch.
        teacher: see `Batches`.
        on_batch: called after every batch with epoch and batch, from 1, and the number of batches.
        on_epoch: called after every epoch, once its checkpoint is saved.

    Raises:
        BadCheckpoint: the last checkpoint is damaged.
        Diverged: the loss of an epoch is beyond all bounds; no checkpoint is saved of it.
    """
    if not settings.epochs:
        return Progress()
    steps = batches.count(len(train[1]), settings.batch_size)
    _compile(model, optimizer(settings, steps))
    model.optimizer.build(model.trainable_variables)
    trainer = model
    if device.is_used(model) and not settings.resize_epochs and not teacher:  # shapes and targets there are fixed
        trainer = device.training_graph(model, train[0], transform, Batches(model, train, settings, 1, transform))
        _compile(trainer, model.optimizer, steps_an_execution=EVERY if keras.config.backend() == "jax" else 1)
    held_out = _held_out(model, validation)
    progress = load_progress(scratch)
    with _named_if_damaged(scratch):
        average = _resume(model, settings, scratch, len(progress.history), steps)
    ticker = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda *_: _reseed(model, settings.seed, len(progress.history) + 1),
        on_train_batch_end=lambda batch, logs: on_batch(len(progress.history) + 1, min(batch + 1, steps), steps),
    )
    while not is_over(progress, settings):
        epoch = len(progress.history) + 1
        started = time.time()
        data = Batches(model, train, settings, epoch, transform, teacher)
        callbacks = [ticker, average] if average else [ticker]
        if trainer is model:
            fitted = model.fit(data, epochs=1, verbose=0, shuffle=False, callbacks=callbacks).history
        else:
            fitted = device.fit_epoch(trainer, data, callbacks)
        with average.applied() if average else nullcontext():
            validated = model.evaluate(**held_out, verbose=0, return_dict=True)
        loss = fitted["loss"][0]
        if not (loss < _GREATEST_LOSS and math.isfinite(validated["loss"])):
            raise Diverged(
                f"the loss of epoch {epoch} is {loss:.3g} on training and {validated['loss']:.3g} on validation: "
                "the training diverged; lower train.learning_rate, or set train.clip_norm, as to 1.0"
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


def scratch_key(settings: Mapping[str, Any], arrays: Iterable[NDArray[Any]], base_sha256: str | None) -> str:
    """Return the name of a training's scratch folder: a hash of everything that its checkpoints depend on.

    Args:
        settings: parameters, as JSON.
        arrays: images and labels.
        base_sha256: of the file of the initial weights.
    """
    code = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(Path(__file__).parents[1].rglob("*.py"))]
    data = [hashlib.sha256(array.data).hexdigest() for array in arrays]
    parts = [settings, base_sha256, keras.config.backend(), code, data]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


def load_progress(scratch: Path) -> Progress:
    """Read how far an interrupted training came; `fit` resumes there.

    Raises:
        BadCheckpoint: it cannot be read.
    """
    state = scratch / "progress.json"
    with _named_if_damaged(scratch):
        return Progress(**json.loads(state.read_text(encoding="utf-8"))) if state.is_file() else Progress()


def is_over(progress: Progress, settings: Train) -> bool:
    """Tell whether no epoch is left to train: by their number, patience or minutes."""
    done = len(progress.history)
    if done >= settings.epochs or done - progress.best_epoch >= settings.patience:
        return True
    # an epoch that would end late is not started
    in_epochs = progress.seconds - progress.frozen_prefix.get("seconds", 0.0)
    return bool(done and settings.minutes and progress.seconds + in_epochs / done > 60 * settings.minutes)


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


def _compile(model: keras.Model, optimizer: keras.optimizers.Optimizer, steps_an_execution: int = 1) -> None:
    model.compile(
        optimizer=optimizer,
        loss="categorical_crossentropy",
        weighted_metrics=[
            keras.metrics.CategoricalAccuracy(name="accuracy"),
            _of_classes(keras.metrics.BinaryAccuracy)(name="binary_accuracy"),
            _of_classes(keras.metrics.Precision)(name="precision"),
            _of_classes(keras.metrics.Recall)(name="recall"),
            _of_classes(keras.metrics.F1Score)("micro", threshold=0.5, name="f1"),
        ],
        # XLA on a CPU is slower than TensorFlow's own kernels
        jit_compile=False if keras.config.backend() == "tensorflow" else "auto",
        steps_per_execution=steps_an_execution,
    )


def _held_out(model: keras.Model, validation: tuple[Faces, Labels]) -> dict[str, Any]:
    """Return what a network is evaluated on; filled up with images that do not count where devices share a batch."""
    faces, labels = validation
    n, devices, weights = len(labels), device.count(), None
    if padded := -n % devices:
        rows = np.arange(n + padded)
        faces, labels = faces[rows % n], labels[rows % n]
        weights = np.where(rows < n, (n + padded) / n, 0).astype(np.float32)  # Keras divides the loss by n + padded
    size = max(_EVALUATED // devices, 1) * devices
    return {
        "x": descriptors.inputs(model, faces), "y": one_hot(labels), "sample_weight": weights, "batch_size": size,
    }  # fmt: skip


@contextmanager
def _named_if_damaged(scratch: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise BadCheckpoint(f"{scratch} has a damaged checkpoint: {reason}; delete it to train from epoch 1") from None


def _resume(model: keras.Model, settings: Train, scratch: Path, done: int, steps: int) -> MovingAverage | None:
    """Load the checkpoint after `done` epochs, where there is one, and return the average, if any, as it was then."""
    if done and settings.average:
        model.load_weights(_weights_file(scratch, done, is_average=True))
    average = MovingAverage(model, settings.average, epochs=done, steps=steps) if settings.average else None
    if done:
        model.load_weights(_weights_file(scratch, done))
    return average


def _reseed(model: keras.Model, seed: int, epoch: int) -> None:
    """Seed noise and dropout by the epoch, so that they do not depend on how often the training was interrupted."""
    # under torch, dropout draws from the backend's own generator, as does the first `fit` of a process before its epoch
    keras.utils.set_random_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))
    states = [variable for variable in model.variables if variable.name == "seed_generator_state"]
    for offset, state in enumerate(states):
        state.assign(np.array([seed + offset, epoch], dtype=state.dtype))


def _save_checkpoint(model: keras.Model, average: MovingAverage | None, progress: Progress, scratch: Path) -> None:
    """Save weights and optimizer, then progress.json: killed in between, the former checkpoint is still the last."""
    last = _weights_file(scratch, len(progress.history))
    with replacing(last) as file:
        model.save_weights(file)
    averaged = _weights_file(scratch, len(progress.history), is_average=True)
    if average:
        with average.applied(), replacing(averaged) as file:
            model.save_weights(file)
    progress.save(scratch)
    best = _weights_file(scratch, progress.best_epoch, is_average=average is not None)
    for file in set(scratch.glob("epoch-*.weights.h5")) - {last, averaged, best}:
        file.unlink()


def _weights_file(scratch: Path, epoch: int, *, is_average: bool = False) -> Path:
    return scratch / f"epoch-{epoch:04d}{'.average' if is_average else ''}.weights.h5"
