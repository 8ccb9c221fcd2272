"""Networks that LiteRT runs: no TensorFlow is loaded, the first answer takes a tenth of a second."""

import os
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ferops.machine.environment import muted_stderr


class Network:
    """A network in a .tflite file; thread-safe, one batch at a time."""

    def __init__(self, content: bytes, threads: int | None = None) -> None:
        """Load the content of a .tflite file, to run on so many threads; by default on every core.

        Raises:
            ValueError: it is no such file, or damaged.
        """
        from ai_edge_litert.interpreter import Interpreter

        with muted_stderr():  # LiteRT says which delegate it made
            self._interpreter = Interpreter(model_content=content, num_threads=threads or os.cpu_count() or 1)
            self._interpreter.allocate_tensors()
        self._lock = Lock()
        (self._input,) = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()

    def run(self, batch: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Return the outputs for a batch, each float32 (N, ...); another N than before costs a new allocation."""
        with self._lock:
            if batch.shape != tuple(self._input["shape"]):
                self._interpreter.resize_tensor_input(self._input["index"], batch.shape)
                self._interpreter.allocate_tensors()
                (self._input,) = self._interpreter.get_input_details()
            self._interpreter.set_tensor(self._input["index"], batch)
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(output["index"]) for output in self._outputs]


def answers(network: Network, faces: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """Return an exported network's probabilities (N, 7) and, where it has them, its Grad-CAM maps (N, 12, 12)."""
    return sorted(network.run(faces), key=np.ndim)  # LiteRT gives them in any order
