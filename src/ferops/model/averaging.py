"""A moving average of the weights, which is validated and kept in their place (Polyak; EMA)."""

from typing import Any, Final

import keras
from keras import ops

_EVERY: Final = 16
"""Batches between two updates: one a batch would cost as much as a small network's step."""


class Average(keras.callbacks.Callback):  # type: ignore[misc]
    """Follows all weights of a network while it trains, a batch norm's statistics among them.

    Keras' optimizers have such an average too, but write it over the weights at the end of every `fit`.
    """

    def __init__(self, model: keras.Model, decay: float) -> None:
        """Begin at the weights as they are; `decay` is that of one batch, in (0, 1)."""
        super().__init__()
        self._of, self._decay = model, decay
        self.start(epochs=0, steps=0)

    def start(self, *, epochs: int, steps: int) -> None:
        """Take the weights as they are for the average after so many epochs of so many batches."""
        self._updates = epochs * -(-steps // _EVERY)
        self._since = 0
        self._values = [ops.copy(variable.value) for variable in self._of.weights]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002  # Keras' names
        """Follow, where it is time to."""
        self._since += 1
        if self._since == _EVERY:
            self._follow()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002  # Keras' names
        """Follow: what is validated knows the whole epoch."""
        if self._since:
            self._follow()

    def _follow(self) -> None:
        if keras.backend.backend() == "jax":
            self._of.jax_state_sync()  # its compiled step holds the weights until it is asked for them
        self._updates += 1
        # from a random start the average first follows closely
        decay = min(self._decay**self._since, (1 + self._updates) / (10 + self._updates))
        self._since = 0
        self._values = [
            value + (ops.cast(variable.value, value.dtype) - value) * (1 - decay)
            if variable.dtype.startswith("float")
            else ops.copy(variable.value)
            for value, variable in zip(self._values, self._of.weights, strict=True)
        ]

    def swap(self) -> None:
        """Average and weights change places."""
        weights = [ops.copy(variable.value) for variable in self._of.weights]
        for variable, value in zip(self._of.weights, self._values, strict=True):
            variable.assign(value)
        self._values = weights
