"""Training on accelerators, under jax and torch: faces lie on the device and are augmented in the compiled step."""

from typing import Any, Final

import keras
import numpy as np
from keras import layers, ops

from ferops.errors import FeropsError
from ferops.model.networks import descriptors
from ferops.model.training.batches import Batches, Faces, Targets, Transform, mix

_NARROW: Final = {"f": "float32", "i": "int32"}
"""Type on the device of what numpy draws, by its kind."""


class IndivisibleBatch(FeropsError):
    """Several devices cannot share a batch evenly."""


def distribute(batch_size: int) -> None:
    """Share every batch among the devices of jax, where it sees several; before a network is built.

    Raises:
        IndivisibleBatch: not every device would get as many images.
    """
    devices = len(keras.distribution.list_devices()) if keras.config.backend() == "jax" else 1
    if devices == 1:
        return
    if batch_size % devices:
        raise IndivisibleBatch(
            f"{devices} devices cannot share a batch of {batch_size} images: set train.batch_size to a multiple of "
            f"{devices}, or show jax fewer devices (CUDA_VISIBLE_DEVICES)"
        )
    keras.distribution.set_distribution(keras.distribution.DataParallel())


def count() -> int:
    """Count the devices that share a batch."""
    distribution = keras.distribution.distribution()
    return int(distribution.num_model_replicas) if distribution else 1


def is_used(network: keras.Model) -> bool:
    """Tell whether a network trains on faces that lie on the device; descriptors are computed on the host."""
    return keras.config.backend() != "tensorflow" and descriptors.is_served(network)


class Resident(layers.Layer):  # type: ignore[misc]
    """Training images that lie on the device, and what was drawn for an epoch; from positions in it to faces."""

    def __init__(self, faces: Faces, transform: Transform, batches: Batches) -> None:
        """Copy the faces, uint8 (N, 48, 48), to the device and allocate buffers for the draws of an epoch."""
        super().__init__(dtype="float32")
        self._transform = transform
        self._faces = self._buffer(faces.shape, "uint8")
        self._faces.assign(faces)
        draws, targets = batches.drawn(0)
        self._draws = {
            name: self._buffer((len(batches) * len(targets), *values.shape[1:]), _NARROW[values.dtype.kind])
            for name, values in draws.items()
        }

    def load(self, batches: Batches) -> Targets:
        """Draw an epoch, and return its targets, float32 (n, 7)."""
        draws, targets = zip(*(batches.drawn(index) for index in range(len(batches))), strict=True)
        for name, buffer in self._draws.items():
            buffer.assign(np.concatenate([values[name] for values in draws]).astype(buffer.dtype))
        return np.concatenate(targets)

    def call(self, positions: Any) -> Any:
        """Return the faces, uint8 (n, 48, 48), at the positions of one batch in the epoch, int32 (n,)."""
        draws = {name: ops.take(values, positions, axis=0) for name, values in self._draws.items()}
        faces = ops.cast(ops.take(self._faces, draws["row"], axis=0), "float32")
        faces = self._transform.apply_on_device(faces, draws)
        mixed = mix(faces, ops.take(faces, draws["partner"], axis=0), draws["share"][:, None, None])
        return ops.cast(ops.round(mixed), "uint8")

    def _buffer(self, shape: tuple[int, ...], dtype: str) -> keras.Variable:
        return self.add_weight(shape, "zeros", dtype, trainable=False, autocast=False)


class _SilentSteps(keras.callbacks.CallbackList):  # type: ignore[misc]
    """Calls the callbacks of a step without its metrics, which Keras would fetch from the device and wait for."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002  # Keras' names
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, {})


def training_graph(network: keras.Model, faces: Faces, transform: Transform, batches: Batches) -> keras.Model:
    """Return the model to fit for a network: from positions in an epoch; it shares the network's variables.

    Args:
        network: from faces to probabilities.
        faces: all training images, uint8 (N, 48, 48).
        transform: see `Batches`.
        batches: of any epoch.
    """
    positions = keras.Input((), dtype="int32")
    return keras.Model(positions, network(Resident(faces, transform, batches)(positions)))


def fit_epoch(trainer: keras.Model, batches: Batches, callbacks: list[keras.callbacks.Callback]) -> dict[str, Any]:
    """Fit the model of `training_graph` for an epoch, and return its metrics, fetched once, as Keras' history."""
    targets = trainer.layers[1].load(batches)
    silent = _SilentSteps(callbacks, add_history=True, model=trainer)
    fitted = trainer.fit(
        np.arange(len(targets), dtype=np.int32), targets, batch_size=len(targets) // len(batches), verbose=0,
        shuffle=False, callbacks=silent,
    )  # fmt: skip
    return dict(fitted.history)
