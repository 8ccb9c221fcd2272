"""Images a second of the whole training step on the device at hand, beside what the device itself could do.

    KERAS_BACKEND=jax python benchmarks/accelerator.py [--images N] [--batch N] [--precision float32]

The step is that of `recipes/best.yaml`, VGG16 with batch norms at 48 pixels: forward, backward, optimizer, moving
average, and all of the recipe's augmentation and mixup, through `ferops.model.training.fitting.fit`; an epoch's random
numbers are drawn in its time, validation (7 images) too. The floor is 4.2 GFLOP an image at the best rate of a matrix
product and of a convolution that were measured before and after.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import keras
import numpy as np
import training

from ferops.model.networks import systems
from ferops.model.training import device, fitting, runtime

OPERATIONS = 4.2e9
"""Of vgg16_best for one image, forward and backward."""

EPOCHS = 4
"""The first one compiles, and does not count."""

ROUNDS = 5


def main() -> None:
    """Print device, rates and their ratio."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--images", type=int, default=28709, help="in an epoch; 256 on a CPU")
    asked.add_argument("--batch", type=int, default=128)
    asked.add_argument("--precision", default="mixed_bfloat16")
    given = asked.parse_args()
    device.distribute(given.batch)
    keras.config.set_dtype_policy(given.precision)

    dtype, side = keras.config.dtype_policy().compute_dtype, 8192 if given.images > 4096 else 1024
    before = peak(dtype, side)
    rate = trained(given.images, given.batch, given.precision)
    best = max(before, peak(dtype, side))
    described = runtime.describe()
    print(f"{described['hardware']}, {described['backend']} {described['backend_version']}, {device.count()} devices")
    print(f"best product or convolution of {dtype}: {best / 1e12:.2f} TFLOP/s on one device")
    print(f"floor: {best / OPERATIONS:,.1f} images/s a device")
    print(f"training: {rate:,.1f} images/s, {rate * OPERATIONS / best:.0%} of it")


def peak(dtype: str, side: int) -> float:
    """Return the operations a second of the faster of a large matrix product and VGG16's heaviest convolution."""
    square = keras.ops.ones((side, side), dtype)
    images, kernel = keras.ops.ones((side // 8, 24, 24, 128), dtype), keras.ops.ones((3, 3, 128, 128), dtype)
    works = {
        2 * side**3: lambda: keras.ops.matmul(square, square),
        2 * 9 * 24**2 * 128**2 * (side // 8): lambda: keras.ops.conv(images, kernel, padding="same"),
    }
    return max(operations / least(work) for operations, work in works.items())


def least(work: Callable[[], Any]) -> float:
    """Return the least seconds of a call; one number of its result is fetched, so that it is waited for."""
    times = []
    for _ in range(ROUNDS + 1):  # the first one compiles
        start = time.perf_counter()
        float(keras.ops.convert_to_numpy(keras.ops.cast(work()[0, 0], "float32")).ravel()[0])
        times.append(time.perf_counter() - start)
    return min(times[1:])


def trained(images: int, batch: int, precision: str) -> float:
    """Return the images a second of the median epoch of a training of `recipes/best.yaml`."""
    given = training.settings(
        "best", epochs=EPOCHS, clean_epochs=0, warmup_epochs=1, batch_size=batch, precision=precision
    )
    rng = np.random.default_rng(0)
    faces, labels = rng.integers(0, 256, (images, 48, 48), np.uint8), rng.integers(0, 7, images)
    began = []
    with tempfile.TemporaryDirectory() as scratch:
        progress = fitting.fit(
            systems.build(given.model), (faces, labels), (faces[:7], labels[:7]), given.train, Path(scratch),
            transform=training.transform(given),
            on_epoch=lambda _row: began.append(time.time()),  # its checkpoint is saved: the next epoch begins
        )  # fmt: skip
    took = [row["time"] - start for row, start in zip(progress.history[1:], began, strict=False)]
    return images // batch * batch / median(took)


if __name__ == "__main__":
    main()
