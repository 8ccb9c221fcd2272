"""The network that is served: a trained core between its median filter and its temperature, in one graph."""

from pathlib import Path

import keras
from keras import ops

from ferops.labels import SIDE


def load_raw_model(core: Path, median_kernel: int, temperature: float = 1.0) -> keras.Model:
    """Load a trained core and put its median filter in front of it and its temperature behind it, as one graph.

    Args:
        core: the .keras file that `train` writes, from filtered uint8 (N, 48, 48) to probabilities (N, 7).
        median_kernel: side of the filter in pixels, 1 (none), 3, 5 or 7.
        temperature: of `calibration.fit_temperature`.

    Returns:
        A model from raw uint8 gray (N, 48, 48) to calibrated probabilities (N, 7).
    """
    return raw_model(keras.models.load_model(core, compile=False), median_kernel, temperature)


def raw_model(core: keras.Model, median_kernel: int, temperature: float = 1.0) -> keras.Model:
    """Return the model of `load_raw_model` around a core that is loaded; maps of `gradcam.explained` stay outputs."""
    raw = keras.Input((SIDE, SIDE), dtype="uint8", name="raw_faces")
    answers = core(median(raw, median_kernel))
    probabilities, *maps = answers if isinstance(answers, list) else [answers]
    # dividing logits by a temperature takes a root of the probabilities
    roots = ops.power(ops.cast(probabilities, "float32"), 1 / temperature)
    calibrated = roots / ops.sum(roots, axis=-1, keepdims=True)
    return keras.Model(raw, [calibrated, *maps] if maps else calibrated, name="fer_vgg16_raw")


def median(faces: keras.KerasTensor, kernel: int) -> keras.KerasTensor:
    """Apply a median filter to uint8 (N, H, W) with `keras.ops`, bit for bit as cv2.medianBlur does.

    cv2 repeats the border pixel; symmetric padding does so for one pixel, so it is applied once per pixel of radius.
    """
    padded = ops.cast(faces, "int32")  # LiteRT has no minimum and maximum of uint8
    for _ in range(kernel // 2):
        padded = ops.pad(padded, [[0, 0], [1, 1], [1, 1]], mode="symmetric")
    height, width = faces.shape[1], faces.shape[2]
    windows = [padded[:, top : top + height, left : left + width] for top in range(kernel) for left in range(kernel)]
    # a selection by minimum and maximum alone: a sort of so few values is ten times slower
    for _ in range(kernel**2 // 2 + 1):  # each round takes the greatest away; the last one is the median
        greatest, rest = windows[0], []
        for window in windows[1:]:
            rest.append(ops.minimum(greatest, window))
            greatest = ops.maximum(greatest, window)
        windows = rest
    return ops.cast(greatest, "uint8")
