"""Mini-batches of one epoch: what the network takes, in an order and with changes that a seed alone decides."""

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
"""Faces, their targets and the number of the batch -> both changed."""

_MIXING: Final = 0.4  # of Beta(a, a): most pairs stay close to one of the two


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Mini-batches of one epoch."""

    def __init__(
        self,
        faces: Faces,
        labels: Labels,
        batch_size: int,
        inputs: Callable[[Faces], Any],
        *,
        order: NDArray[np.int64] | None = None,
        change: Change | None = None,
    ) -> None:
        """Cut `faces` uint8 (N, 48, 48) and `labels` (N,) into batches, in `order` or as they lie.

        Args:
            faces: all of them.
            labels: their codes.
            batch_size: of all batches but the last.
            inputs: faces -> what the network takes.
            order: positions of this epoch.
            change: of a batch, before `inputs`.
        """
        # on two cores TensorFlow has use for both
        super().__init__(workers=max(1, (os.cpu_count() or 1) // 2))
        self._faces, self._labels, self._batch_size, self._inputs = faces, labels, batch_size, inputs
        self._order = np.arange(len(labels)) if order is None else order
        self._change = change

    def __len__(self) -> int:
        """Batches in the epoch."""
        return -(-len(self._order) // self._batch_size)

    def __getitem__(self, index: int) -> tuple[Any, Targets]:
        """Batch `index`: what the network takes for n faces, and targets float32 (n, 7)."""
        rows = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        faces, targets = np.asarray(self._faces[rows]), np.eye(len(NAMES), dtype=np.float32)[self._labels[rows]]
        if self._change is not None:
            faces, targets = self._change(faces, targets, index)
        return self._inputs(faces), targets


def smooth(targets: Targets, share: float) -> Targets:
    """Targets (n, 7) of which a share is spread over all seven classes (Szegedy et al. 2016)."""
    return np.asarray(targets * (1 - share) + share / len(NAMES), np.float32)


def mixup(faces: Faces, targets: Targets, rng: np.random.Generator) -> tuple[Faces, Targets]:
    """Each image mixed with another of the batch, its target with that one's (Zhang et al. 2018).

    Args:
        faces: uint8 (n, 48, 48).
        targets: float32 (n, 7).
        rng: draws the pairs and one share for the whole batch.
    """
    share = np.float32(rng.beta(_MIXING, _MIXING))
    other = rng.permutation(len(faces))
    mixed = faces * share + faces[other] * (1 - share)
    return np.rint(mixed).astype(np.uint8), targets * share + targets[other] * (1 - share)
