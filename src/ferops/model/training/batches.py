"""Mini-batches of one epoch, augmented, mixed and smoothed: all decided by seed and epoch."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import cv2
import keras
import numpy as np
from numpy.typing import NDArray

from ferops.labels import NAMES
from ferops.model.networks import descriptors
from ferops.params import Train

Faces = NDArray[np.uint8]
Labels = NDArray[np.int64]
Targets = NDArray[np.float32]
Draws = dict[str, NDArray[Any]]
"""What is drawn for n faces: arrays of n rows; the same in `ferops.data.augmentation`, which `model` may not import."""

_ALPHA: Final = 0.4
"""Of mixup's Beta(alpha, alpha): most mixed images stay close to one of the two."""


_SMALL: Final = 32
"""Side of the images of the first `resize_epochs` (progressive resizing), in pixels."""


Ask = Callable[[Faces], Targets]
"""A teacher's answers, float32 (n, 7), to faces, uint8 (n, 48, 48), as the student sees them."""


@dataclass(frozen=True)
class Transform:
    """How the faces of a batch are changed while training; by default not at all.

    Fields:
        draw: number of faces, settings of the epoch, random numbers -> what is drawn for them; the names and the shape
            of a row are the same in every epoch.
        apply: faces, draws -> the changed faces.
        apply_on_device: the same for tensors, of whole gray levels in float32, by Keras' operations.
    """

    draw: Callable[[int, Train, np.random.Generator], Draws] = lambda _n, _settings, _rng: {}
    apply: Callable[[Faces, Draws], Faces] = lambda faces, _draws: faces
    apply_on_device: Callable[[Any, dict[str, Any]], Any] = lambda faces, _draws: faces


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Mini-batches of one epoch."""

    def __init__(
        self,
        model: keras.Model,
        data: tuple[Faces, Labels],
        settings: Train,
        epoch: int,
        transform: Transform,
        teacher: Ask | None = None,
    ) -> None:
        """Shuffle the images of an epoch; in one of the last `clean_epochs` they are not mixed, brightened or erased.

        Args:
            model: the network that is trained.
            data: faces uint8 (N, 48, 48), or features float16 (N, ...) of `frozen_prefix`, and labels int64 (N,).
            settings: the `train` section of params.yaml.
            epoch: from 1.
            transform: changes the faces of every batch, before they are mixed.
            teacher: its answers to the changed faces are `settings.teacher_share` of their targets.
        """
        # TensorFlow uses the other half of the cores
        super().__init__(workers=max(1, (os.cpu_count() or 1) // 2))
        if epoch > settings.epochs - settings.clean_epochs:
            settings = settings.model_copy(update={"mixup": 0.0, "brightness": 0.0, "erasing": 0.0})
        self._model, self._data, self._transform, self._teacher = model, data, transform, teacher
        self._settings, self._epoch = settings, epoch
        self._order = np.random.default_rng([settings.seed, epoch]).permutation(len(data[1]))

    def __len__(self) -> int:
        """Return the number of batches in the epoch."""
        return count(len(self._order), self._settings.batch_size)

    def __getitem__(self, index: int) -> tuple[Any, Targets]:
        """Return batch `index`: the network's inputs for n faces, and their targets, float32 (n, 7)."""
        draws, targets = self.drawn(index)
        faces = self._transform.apply(np.asarray(self._data[0][draws["row"]]), draws)
        if self._teacher:  # asked about whole faces: its answers are mixed as they are
            answers = self._teacher(faces)
            answers = mix(answers, answers[draws["partner"]], draws["share"][:, None])
            targets = mix(answers, targets, self._settings.teacher_share)
        if (draws["share"] < 1).any():
            faces = np.rint(mix(faces, faces[draws["partner"]], draws["share"][:, None, None])).astype(np.uint8)
        if self._epoch <= self._settings.resize_epochs:
            faces = np.stack([cv2.resize(face, (_SMALL, _SMALL), interpolation=cv2.INTER_AREA) for face in faces])
        return descriptors.inputs(self._model, faces), targets

    def drawn(self, index: int) -> tuple[Draws, Targets]:
        """Draw batch `index`; no pixel is touched.

        Returns:
            What the transform draws for n faces; `row` of each in the data; for mixup `partner`, the face of the batch
            that each is mixed with, and `share` that each keeps, float32; and their targets, float32 (n, 7).
        """
        size = self._settings.batch_size
        rows = self._order[index * size : (index + 1) * size]
        rng = np.random.default_rng([self._settings.seed, self._epoch, index])
        draws = self._transform.draw(len(rows), self._settings, rng)
        targets = smooth(one_hot(self._data[1][rows]), self._settings.label_smoothing)
        partner, share = np.arange(len(rows)), np.ones(len(rows), np.float32)
        if rng.random() < self._settings.mixup:
            share[:] = rng.beta(_ALPHA, _ALPHA)
            partner = rng.permutation(len(rows))
            targets = mix(targets, targets[partner], share[:, None])
        return {**draws, "row": rows, "partner": partner, "share": share}, targets


def count(n: int, size: int) -> int:
    """Count the batches of n faces; jax and torch leave a last, shorter one out: programs are compiled for a shape."""
    return -(-n // size) if keras.config.backend() == "tensorflow" else max(n // size, 1)


def one_hot(labels: Labels) -> Targets:
    """Return the targets, float32 (n, 7), of labels, codes (n,)."""
    return np.eye(len(NAMES), dtype=np.float32)[labels]


def smooth(targets: Targets, share: float) -> Targets:
    """Smooth targets (n, 7): spread a share of each over all seven classes (Szegedy et al. 2016)."""
    return np.asarray(targets * (1 - share) + share / len(NAMES), np.float32)


def mix(values: Any, partners: Any, share: Any) -> Any:
    """Mix images or targets with their partners by the share that each keeps (mixup: Zhang et al. 2018)."""
    return values * share + partners * (1 - share)
