"""The fit: seeded epochs, a checkpoint after each, the best one kept."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ferops.labels import NAMES
from ferops.params import Train

Faces = NDArray[np.uint8]
Labels = NDArray[np.int64]
Transform = Callable[[Faces, np.random.Generator], Faces]
Row = dict[str, float]
"""One epoch: `epoch` (from 1), `time` (unix s), `train/<metric>` and `val/<metric>`."""


@dataclass
class Progress:
    """What is known after the last finished epoch; saved as JSON beside the checkpoint."""

    history: list[Row]
    started: float
    seconds: float = 0.0
    last: str | None = None
    best: str | None = None

    @property
    def best_epoch(self) -> int:
        """The first epoch with the highest validation accuracy, from 1."""
        return int(max(self.history, key=lambda row: (row["val/accuracy"], -row["epoch"]))["epoch"])


@dataclass(frozen=True)
class Hooks:
    """What happens outside while the fit runs."""

    on_batch: Callable[[int, int, int], None] = lambda _epoch, _batch, _batches: None
    on_epoch: Callable[[Row], None] = lambda _row: None


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Mini-batches of one epoch: their order and their warps follow from seed and epoch alone."""

    def __init__(
        self,
        faces: Faces,
        labels: Labels,
        batch_size: int,
        *,
        order: NDArray[np.int64] | None = None,
        transform: Callable[[Faces, int], Faces] | None = None,
    ) -> None:
        """Cut `faces` uint8 (N, 48, 48) and `labels` (N,) into batches, in `order` or as they lie."""
        super().__init__(workers=1)
        self._faces, self._labels, self._batch_size = faces, labels, batch_size
        self._order = np.arange(len(labels)) if order is None else order
        self._transform = transform

    def __len__(self) -> int:
        """Batches in the epoch."""
        return -(-len(self._order) // self._batch_size)

    def __getitem__(self, index: int) -> tuple[Faces, NDArray[np.float32]]:
        """Batch `index`: faces uint8 (n, 48, 48) and one-hot labels float32 (n, 7)."""
        rows = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        faces = np.asarray(self._faces[rows])
        if self._transform is not None:
            faces = self._transform(faces, index)
        return faces, np.eye(len(NAMES), dtype=np.float32)[self._labels[rows]]


def fit(
    model: keras.Model,
    train: tuple[Faces, Labels],
    validation: tuple[Faces, Labels],
    settings: Train,
    scratch: Path,
    *,
    transform: Transform | None = None,
    hooks: Hooks = Hooks(),
) -> Progress:
    """Train until the epochs or the patience are used up; the model ends with the weights of the best epoch.

    After each epoch a checkpoint goes into `scratch`. Called again with the same folder it goes on after the last
    finished epoch, with the data order and the random numbers that an undisturbed run would have had.

    Args:
        model: the network, its base filled; changed in place.
        train: faces uint8 (N, 48, 48) and labels int64 (N,).
        validation: the same for the split that chooses epoch and end.
        settings: the `train` section of params.yaml.
        scratch: folder of this training alone (see `scratch_key`), made where missing.
        transform: warps a batch, drawing from the generator it is given; None leaves images as they are.
        hooks: called after every batch and every epoch.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    faces, labels = train
    steps = -(-len(labels) // settings.batch_size)
    _compile(model, settings, steps)
    progress = _load(scratch)
    if progress.last is not None:
        model.load_weights(scratch / progress.last)
    held_out = Batches(*validation, batch_size=256)
    for epoch in range(len(progress.history) + 1, settings.epochs + 1):
        if epoch - 1 - (progress.best_epoch if progress.history else 0) >= settings.patience:
            break
        started = time.time()
        _reseed(model, settings.seed, epoch)
        batches = Batches(
            faces,
            labels,
            settings.batch_size,
            order=np.random.default_rng([settings.seed, epoch]).permutation(len(labels)),
            transform=_of_epoch(transform, settings.seed, epoch),
        )
        ticker = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs, epoch=epoch: hooks.on_batch(epoch, batch + 1, steps)
        )
        seen = model.fit(batches, epochs=1, verbose=0, shuffle=False, callbacks=[ticker]).history
        row = {"epoch": epoch, "time": time.time()}
        row |= _prefixed("train", {name: values[-1] for name, values in seen.items()})
        row |= _prefixed("val", model.evaluate(held_out, verbose=0, return_dict=True))
        progress.history.append(row)
        progress.seconds += time.time() - started
        _checkpoint(model, progress, scratch)
        hooks.on_epoch(row)
    if progress.best is not None:
        model.load_weights(scratch / progress.best)
    return progress


def scratch_key(parts: dict[str, Any]) -> str:
    """Name of a training's scratch folder: a hash of everything that its checkpoint depends on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


def history(scratch: Path) -> list[Row]:
    """Epochs that an interrupted training has finished; `fit` goes on after them."""
    return _load(scratch).history


def _compile(model: keras.Model, settings: Train, steps: int) -> None:
    rate: Any = settings.learning_rate
    if settings.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, steps * settings.epochs)
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss="categorical_crossentropy",
        metrics=[
            keras.metrics.CategoricalAccuracy(name="accuracy"),
            keras.metrics.BinaryAccuracy(name="binary_accuracy"),
            keras.metrics.Precision(name="precision"),
            keras.metrics.Recall(name="recall"),
        ],
        # XLA on a CPU is slower than TensorFlow's own kernels
        jit_compile=False if keras.config.backend() == "tensorflow" else "auto",
    )
    model.optimizer.build(model.trainable_variables)


def _prefixed(split: str, metrics: dict[str, float]) -> Row:
    precision, recall = metrics["precision"], metrics["recall"]
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {f"{split}/{name}": float(value) for name, value in {**metrics, "f1": f1}.items()}


def _of_epoch(transform: Transform | None, seed: int, epoch: int) -> Callable[[Faces, int], Faces] | None:
    if transform is None:
        return None
    return lambda faces, batch: transform(faces, np.random.default_rng([seed, epoch, batch]))


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


def _checkpoint(model: keras.Model, progress: Progress, scratch: Path) -> None:
    """Save weights and optimizer, then name them in progress.json: killed in between, the former pair still holds."""
    epoch = int(progress.history[-1]["epoch"])
    progress.last = f"epoch-{epoch:04d}.weights.h5"
    if progress.best_epoch == epoch:
        progress.best = progress.last
    partial = scratch / "partial.weights.h5"
    model.save_weights(partial, overwrite=True)
    partial.replace(scratch / progress.last)
    state = scratch / "progress.new"
    state.write_text(json.dumps(vars(progress)), encoding="utf-8")
    state.replace(scratch / "progress.json")
    for file in scratch.glob("epoch-*.weights.h5"):
        if file.name not in (progress.last, progress.best):
            file.unlink()
