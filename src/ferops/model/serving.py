"""The network that is served: a trained core behind its median filter, in one graph."""

from pathlib import Path

import keras
from keras import ops

from ferops.labels import SIDE


def load_raw_model(core: Path, median_kernel: int) -> keras.Model:
    """Load a trained core and put its median filter in front of it; see `serving_model`.

    Args:
        core: the .keras file that `train` writes.
        median_kernel: side of the filter in pixels.
    """
    return serving_model(keras.models.load_model(core, compile=False), median_kernel)


def serving_model(core: keras.Model, median_kernel: int) -> keras.Model:
    """Put the median filter in front of a trained core, as a part of its graph.

    Args:
        core: from filtered uint8 (N, 48, 48) to probabilities (N, 7).
        median_kernel: side of the filter in pixels, 1 (none), 3, 5 or 7.

    Returns:
        A model from raw uint8 gray (N, 48, 48) to probabilities (N, 7).
    """
    raw = keras.Input((SIDE, SIDE), dtype="uint8", name="raw_faces")
    return keras.Model(raw, core(median(raw, median_kernel)), name="fer_vgg16_raw")


def median(faces: keras.KerasTensor, kernel: int) -> keras.KerasTensor:
    """Apply a median filter to uint8 (N, H, W) with `keras.ops`, bit for bit as cv2.medianBlur does.

    cv2 repeats the border pixel; symmetric padding does so for one pixel, so it is applied once per pixel of radius.
    """
    if kernel == 1:
        return faces
    padded = faces
    for _ in range(kernel // 2):
        padded = ops.pad(padded, [[0, 0], [1, 1], [1, 1]], mode="symmetric")
    height, width = faces.shape[1], faces.shape[2]
    windows = [padded[:, top : top + height, left : left + width] for top in range(kernel) for left in range(kernel)]
    return _middle(windows)


def _middle(windows: list[keras.KerasTensor]) -> keras.KerasTensor:
    """Compute the median of an odd number of equal-shaped tensors by a min/max network.

    Of n//2 + 2 candidates neither the least nor the greatest is the median, since it has n//2 values on each side; each
    round drops these two and adds one of the others.
    """
    n = len(windows)
    candidates, waiting = list(windows[: n // 2 + 2]), list(windows[n // 2 + 2 :])
    while len(candidates) > 1:
        for index in range(len(candidates) - 1):  # moves the greatest to the end
            low, high = candidates[index], candidates[index + 1]
            candidates[index], candidates[index + 1] = ops.minimum(low, high), ops.maximum(low, high)
        for index in range(len(candidates) - 2, 0, -1):  # moves the least to the front
            low, high = candidates[index - 1], candidates[index]
            candidates[index - 1], candidates[index] = ops.minimum(low, high), ops.maximum(low, high)
        candidates = candidates[1:-1] + ([waiting.pop(0)] if waiting else [])
    return candidates[0]
