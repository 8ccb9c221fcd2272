"""What the machine itself can do: bytes copied in memory, and floating-point operations of a convolution, a second."""

import json
import subprocess
import sys

import numpy as np
from measure import seconds

from ferops.machine.tensorflow import quiet_imports

ROUNDS = 7
BYTES = 256 << 20
BATCH = 32
LAYERS = ((48, 64, 64), (24, 128, 128), (12, 256, 256), (6, 512, 512))
"""Side of the images, channels in and out: a 3x3 convolution of each of VGG16's first four blocks."""


def rates() -> dict[str, float]:
    """Measure both in a process of its own, in the environment that every stage gives TensorFlow; the best counts."""
    done = subprocess.run([sys.executable, __file__], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def copied() -> float:
    """Return the bytes a second of a large copy."""
    source, target = np.ones(BYTES, np.uint8), np.zeros(BYTES, np.uint8)
    return BYTES / min(seconds(lambda: np.copyto(target, source)) for _ in range(ROUNDS))


def convolved() -> float:
    """Return the floating-point operations a second of the fastest convolution, forward, in float32."""
    with quiet_imports():
        import tensorflow as tf
    convolve = tf.function(lambda images, kernel: tf.nn.conv2d(images, kernel, 1, "SAME"))
    best = 0.0
    for side, channels, filters in LAYERS:
        images, kernel = tf.ones((BATCH, side, side, channels)), tf.ones((3, 3, channels, filters))
        least = min(seconds(lambda given=(images, kernel): convolve(*given).numpy()) for _ in range(ROUNDS))
        best = max(best, 2 * 9 * images.shape.num_elements() * filters / least)
    return best


if __name__ == "__main__":
    print(json.dumps({"bytes copied a second": copied(), "operations a second": convolved()}))
