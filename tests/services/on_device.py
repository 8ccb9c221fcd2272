"""A short training of a small network, in the backend of KERAS_BACKEND: what it saw, as one line of JSON.

Arguments: file for the weights, .npy; images in a batch.
"""

import json
import sys
import tempfile
from functools import partial
from pathlib import Path

import keras
import numpy as np

from ferops import params
from ferops.data import augmentation
from ferops.model.training import device, fitting
from ferops.model.training.batches import Transform

weights, batch = Path(sys.argv[1]), int(sys.argv[2])
given = params.load(Path("params.yaml"))
settings = given.train.model_copy(
    update={
        "epochs": 2, "batch_size": batch, "optimizer": "sgd", "learning_rate": 0.01, "average": 0.9, "mixup": 0.5,
        "warmup_epochs": 1, "brightness": 0.2, "erasing": 0.3, "online_augmentation": True, "label_smoothing": 0.1,
        "clean_epochs": 1,
    }
)  # fmt: skip
device.distribute(batch)

rng = np.random.default_rng(0)
images, held_out = 40 * batch, 37  # a number of validation images that no number of devices divides
labels = rng.integers(0, 7, images + held_out)
faces = (rng.integers(0, 156, (len(labels), 48, 48)) + 15 * labels[:, None, None]).astype(np.uint8)

gray = keras.Input((48, 48), dtype="uint8", name="faces")
x = keras.layers.Flatten()(keras.ops.cast(gray, "float32") / 255.0)
x = keras.layers.BatchNormalization()(keras.layers.Dense(16, activation="relu")(x))
network = keras.Model(gray, keras.layers.Dense(7, activation="softmax")(x))
network.set_weights([rng.normal(1 if value.ndim == 1 else 0, 0.02, value.shape) for value in network.get_weights()])

fetched, ticks = [], []
if keras.config.backend() == "jax":
    from jax._src.array import ArrayImpl

    value = ArrayImpl._value  # what jax copies an array to the host by

    def fetch(array: ArrayImpl) -> np.ndarray:
        fetched.append(array.shape)
        return value.fget(array)

    ArrayImpl._value = property(fetch)

with tempfile.TemporaryDirectory() as scratch:
    progress = fitting.fit(
        network, (faces[:images], labels[:images]), (faces[images:], labels[images:]), settings, Path(scratch),
        transform=Transform(partial(augmentation.draw, given.augment.warp), augmentation.apply,
                            augmentation.apply_on_device),
        on_batch=lambda epoch, batch, batches: ticks.append((epoch, batch, batches, len(fetched))),
    )  # fmt: skip
np.save(weights, np.concatenate([value.ravel() for value in network.get_weights()]))
print(json.dumps({"ticks": ticks, "history": progress.history, "devices": device.count(), "fetched": len(fetched)}))
