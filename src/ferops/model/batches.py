"""Mini-batches of one epoch, and what mixup and label smoothing change in them: all decided by a seed."""

import math
import os
from collections.abc import Callable
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from ferops.labels import NAMES

Faces = NDArray[np.uint8]
Labels = NDArray[np.int64]
Targets = NDArray[np.float32]
Change = Callable[[Faces, Targets, int], tuple[Faces, Targets]]
"""Faces, targets and number of a batch -> its changed faces and targets."""

_ALPHA: Final = 0.4
"""Of mixup's Beta(alpha, alpha): most mixed images stay close to one of the two."""


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Mini-batches of one epoch."""

    def __init__(
        self,
        faces: Faces,
        labels: Labels,
        batch_size: int,
        inputs: Callable[[Faces], Any],
        *,
        order: NDArray[np.int64],
        change: Change,
    ) -> None:
        """Cut faces and labels into batches.

        Args:
            faces: uint8 (N, 48, 48).
            labels: codes, int64 (N,).
            batch_size: of all batches but the last.
            inputs: computes the network's inputs from faces.
            order: of the epoch, positions (N,).
            change: applied to a batch before `inputs`.
        """
        # TensorFlow uses the other half of the cores
        super().__init__(workers=max(1, (os.cpu_count() or 1) // 2))
        self._faces, self._labels, self._batch_size, self._inputs = faces, labels, batch_size, inputs
        self._order, self._change = order, change

    def __len__(self) -> int:
        """Return the number of batches in the epoch."""
        return math.ceil(len(self._order) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[Any, Targets]:
        """Return batch `index`: the network's inputs for n faces, and their targets, float32 (n, 7)."""
        rows = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        faces, targets = self._change(np.asarray(self._faces[rows]), one_hot(self._labels[rows]), index)
        return self._inputs(faces), targets


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
