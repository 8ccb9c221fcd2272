"""A moving average of the weights (Polyak; EMA), which is validated and kept instead of the last step's."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import keras
import numpy as np

_EVERY: Final = 16
"""Batches between two updates: one a batch would cost as much as a small network's step."""


class MovingAverage(keras.callbacks.Callback):  # type: ignore[misc]
    """Averages all weights of a network while it trains, a batch norm's statistics among them.

    Keras' optimizers average too, but only what is trained, and write it over the weights at the end of every `fit`.
    """

    def __init__(self, model: keras.Model, decay: float) -> None:
        """Start at the current weights; `decay` is that of one batch, in (0, 1)."""
        super().__init__()
        self._network, self._decay = model, decay
        self.start(epochs=0, steps=0)

    def start(self, *, epochs: int, steps: int) -> None:
        """Take the current weights for the average after `epochs` epochs of `steps` batches."""
        self._updates = epochs * math.ceil(steps / _EVERY)
        self._batches = 0
        self._values = [np.array(value) for value in self._network.get_weights()]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002  # Keras' names
        """Update after every 16th batch."""
        self._batches += 1
        if self._batches == _EVERY:
            self._update()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002  # Keras' names
        """Update once more, so that the validated average includes the whole epoch."""
        if self._batches:
            self._update()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the network the average as its weights, for the block."""
        weights = [np.array(value) for value in self._network.get_weights()]
        self._network.set_weights(self._values)
        try:
            yield
        finally:
            self._network.set_weights(weights)

    def _update(self) -> None:
        if keras.backend.backend() == "jax":
            self._network.jax_state_sync()  # its compiled step holds the weights until they are requested
        self._updates += 1
        # after a random start the average is short at first
        decay = min(self._decay**self._batches, (1 + self._updates) / (10 + self._updates))
        self._batches = 0
        for average, value in zip(self._values, self._network.get_weights(), strict=True):
            average += (value - average) * np.float32(1 - decay)  # in place
