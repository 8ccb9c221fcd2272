"""Mini-batches of one epoch, augmented, mixed and smoothed: all decided by seed and epoch."""

import math
import os
from collections.abc import Callable
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from ferops.labels import NAMES
from ferops.model.networks import descriptors
from ferops.params import Train

Faces = NDArray[np.uint8]
Labels = NDArray[np.int64]
Targets = NDArray[np.float32]
Transform = Callable[[Faces, Train, np.random.Generator], Faces]
"""Faces of a batch, settings of its epoch, random numbers -> the changed faces."""

_ALPHA: Final = 0.4
"""Of mixup's Beta(alpha, alpha): most mixed images stay close to one of the two."""


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Mini-batches of one epoch."""

    def __init__(
        self, model: keras.Model, data: tuple[Faces, Labels], settings: Train, epoch: int, transform: Transform
    ) -> None:
        """Shuffle the images of an epoch; in one of the last `clean_epochs` they are not mixed, brightened or erased.

        Args:
            model: the network that is trained.
            data: faces uint8 (N, 48, 48) and labels int64 (N,).
            settings: the `train` section of params.yaml.
            epoch: from 1.
            transform: changes the faces of every batch, before they are mixed.
        """
        # TensorFlow uses the other half of the cores
        super().__init__(workers=max(1, (os.cpu_count() or 1) // 2))
        if epoch > settings.epochs - settings.clean_epochs:
            settings = settings.model_copy(update={"mixup": 0.0, "brightness": 0.0, "erasing": 0.0})
        self._model, self._data, self._transform = model, data, transform
        self._settings, self._epoch = settings, epoch
        self._order = np.random.default_rng([settings.seed, epoch]).permutation(len(data[1]))

    def __len__(self) -> int:
        """Return the number of batches in the epoch."""
        return math.ceil(len(self._order) / self._settings.batch_size)

    def __getitem__(self, index: int) -> tuple[Any, Targets]:
        """Return batch `index`: the network's inputs for n faces, and their targets, float32 (n, 7)."""
        size = self._settings.batch_size
        rows = self._order[index * size : (index + 1) * size]
        rng = np.random.default_rng([self._settings.seed, self._epoch, index])
        faces = self._transform(np.asarray(self._data[0][rows]), self._settings, rng)
        targets = smooth(one_hot(self._data[1][rows]), self._settings.label_smoothing)
        if rng.random() < self._settings.mixup:
            faces, targets = mixup(faces, targets, rng)
        return descriptors.inputs(self._model, faces), targets


def one_hot(labels: Labels) -> Targets:
    """Return the targets, float32 (n, 7), of labels, codes (n,)."""
    return np.eye(len(NAMES), dtype=np.float32)[labels]


def smooth(targets: Targets, share: float) -> Targets:
    """Smooth targets (n, 7): spread a share of each over all seven classes (Szegedy et al. 2016)."""
    return np.asarray(targets * (1 - share) + share / len(NAMES), np.float32)


def mixup(faces: Faces, targets: Targets, rng: np.random.Generator) -> tuple[Faces, Targets]:
    """Mix each image of a batch with another one, and their targets by the same share (Zhang et al. 2018).

    Args:
        faces: uint8 (n, 48, 48).
        targets: float32 (n, 7).
        rng: source of the pairs, and of one share for the whole batch.
    """
    share = np.float32(rng.beta(_ALPHA, _ALPHA))
    other = rng.permutation(len(faces))
    mixed = faces * share + faces[other] * (1 - share)
    return np.rint(mixed).astype(np.uint8), targets * share + targets[other] * (1 - share)
