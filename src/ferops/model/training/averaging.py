"""A moving average of the weights (Polyak; EMA), which is validated and kept instead of the last step's."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import keras
import numpy as np
from keras import ops

EVERY: Final = 16
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
        self._network, self._decay, self._steps = model, decay, steps
        self._updates, self._done = epochs * math.ceil(steps / EVERY), 0
        self._values = _copies(model.weights)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002  # Keras' names
        """Update after every 16th batch, and after the last one, so that the average includes the whole epoch."""
        done = min(batch + 1, self._steps)  # Keras counts a last execution of fewer steps as a whole one
        if done % EVERY == 0 or done == self._steps:
            self._update(done - self._done)
            self._done = done % self._steps

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the network the average as its weights, for the block."""
        weights = _copies(self._network.weights)
        self._network.set_weights(_copies(self._values))
        try:
            yield
        finally:
            self._network.set_weights(weights)

    def _update(self, batches: int) -> None:
        self._updates += 1
        # after a random start the average is short at first
        share = np.float32(1 - min(self._decay**batches, (1 + self._updates) / (10 + self._updates)))
        _ = self.model  # under jax this brings the network's weights up to date
        weights = [ops.stop_gradient(weight.value) for weight in self._network.weights]
        self._values = [
            average + (weight - average) * share for average, weight in zip(self._values, weights, strict=True)
        ]


def _copies(values: Iterable[Any]) -> list[Any]:
    """Copy weights on the device: a step under jax frees the arrays that it is given."""
    return [ops.copy(ops.stop_gradient(value)) for value in values]
