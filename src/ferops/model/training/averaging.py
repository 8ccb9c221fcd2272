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

    def __init__(self, model: keras.Model, decay: float, *, epochs: int, steps: int) -> None:
        """Take the current weights for the average after `epochs` epochs of `steps` batches.

        Args:
            model: the network that is trained.
            decay: of one batch, in (0, 1).
            epochs: 0 for a training from its start.
            steps: batches in an epoch.
        """
        super().__init__()
        self.set_model(model)
        self._decay = decay
        self._updates, self._batches = epochs * math.ceil(steps / _EVERY), 0
        self._values = [np.array(value) for value in model.get_weights()]

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
        weights = [np.array(value) for value in self.model.get_weights()]
        self.model.set_weights(self._values)
        try:
            yield
        finally:
            self.model.set_weights(weights)

    def _update(self) -> None:
        self._updates += 1
        # after a random start the average is short at first
        decay = min(self._decay**self._batches, (1 + self._updates) / (10 + self._updates))
        self._batches = 0
        for average, value in zip(self._values, self.model.get_weights(), strict=True):
            average += (value - average) * np.float32(1 - decay)  # in place
