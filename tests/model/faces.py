"""Faces that a network must be able to learn by heart."""

import functools
import os
from pathlib import Path

import keras
import numpy as np

from ferops.data.readers import layouts
from ferops.data.synthetic import generator
from ferops.labels import NAMES
from ferops.model.networks import descriptors


@functools.cache
def fourteen_faces() -> tuple[np.ndarray, np.ndarray]:
    """Training faces of all classes, uint8 (14, 48, 48), and their labels, int64 (14,): real ones where there are."""
    images, labels = _training_faces()
    # the n-th face of every class before the n + 1-th of any
    ranks = np.array([np.count_nonzero(labels[:row] == label) for row, label in enumerate(labels)])
    chosen = np.argsort(ranks, kind="stable")[:14]
    return images[chosen], labels[chosen]


def _training_faces() -> tuple[np.ndarray, np.ndarray]:
    named = os.environ.get("FER2013_MINI")
    if named and Path(named).is_file():
        real = layouts.read(Path(named))
        training = np.flatnonzero(real.usages == "Training")[:300]
        return real.images[training], real.labels[training]
    sample = generator.generate_sample(seed=2013, counts={"train": 70, "validation": 14, "test": 14})
    training = np.flatnonzero(sample.splits == "train")
    return sample.images[training], sample.labels[training]


def overfits(core: keras.Model, rate: float, epochs: int, fitted: keras.Model | None = None) -> float:
    """Fit the 14 faces until `core` knows them all or the epochs are used up; its accuracy on them, in inference mode.

    Args:
        core: the network that is asked.
        rate: Adam's learning rate.
        epochs: at most.
        fitted: the graph that is fitted where it is not `core` itself; it takes the same inputs and labels.
    """
    faces, labels = fourteen_faces()
    taken = descriptors.inputs(core, faces)

    def accuracy() -> float:
        return float((core.predict_on_batch(taken).argmax(axis=1) == labels).mean())

    learner = fitted or core
    learner.compile(keras.optimizers.Adam(rate), "categorical_crossentropy", jit_compile=False)
    known = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, _logs: setattr(learner, "stop_training", epoch % 5 == 4 and accuracy() == 1)
    )
    one_hot = np.eye(len(NAMES), dtype=np.float32)[labels]
    learner.fit(taken, one_hot, batch_size=14, epochs=epochs, verbose=0, callbacks=[known])
    return accuracy()
