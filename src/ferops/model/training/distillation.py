"""Distillation (Hinton et al. 2015): the probabilities of a teacher become a part of the targets of a training."""

from pathlib import Path
from threading import Lock

import keras
import numpy as np

from ferops.errors import FeropsError
from ferops.model import weights
from ferops.model.calibration import calibrate
from ferops.model.networks import descriptors
from ferops.model.training.batches import Faces, Targets


class BadTeacher(FeropsError):
    """There is no such file."""


class Teacher:
    """A network that answers for the faces of a batch; thread-safe."""

    def __init__(self, network: keras.Model, temperature: float) -> None:
        """Take a network for a teacher.

        Args:
            network: of `load`.
            temperature: by which its logits are divided; over 1 the answers are softer, below 1 sharper.
        """
        self.digest = weights.digest(network)
        self._network, self._temperature = network, temperature
        self._lock = Lock()  # Keras makes batches in several threads

    def __call__(self, faces: Faces) -> Targets:
        """Return the probabilities, float32 (n, 7), of faces, uint8 (n, 48, 48)."""
        with self._lock:
            answers = self._network.predict_on_batch(descriptors.inputs(self._network, faces))
        return calibrate(np.asarray(answers, np.float32), self._temperature)


def load(path: Path, precision: str) -> keras.Model:
    """Load a network that teaches: a core as `train` writes it, or the core of a registered model.

    Args:
        path: a .keras file.
        precision: Keras' dtype policy in which it answers, the training's: a VGG16 in bfloat16 takes half the time.

    Raises:
        BadTeacher: there is no such file.
        WeightsUnfit: it is damaged, or no network from faces to the seven probabilities.
    """
    if not path.is_file():
        raise BadTeacher(f"train.teacher: {path} does not exist; expected a .keras file of a whole network")
    try:
        network = weights.core(weights.load_network(path))
    except weights.WeightsUnfit as error:
        raise weights.WeightsUnfit(f"train.teacher: {error}") from None
    _compute_in(precision, network)
    network.jit_compile = keras.config.backend() == "jax"  # XLA would compile for every number of faces
    return network


def _compute_in(precision: str, network: keras.Model) -> None:
    """Have all layers but the softmax compute in a precision; the weights stay in float32."""
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            _compute_in(precision, layer)
        elif layer.name != "probabilities":
            layer.dtype_policy = precision
