"""The paper's network (its Table 2), and the model that is served."""

import math
from typing import Any, NamedTuple

import keras
from keras import layers, ops

from ferops.labels import NAMES, SIDE

CAFFE_MEANS = (103.939, 116.779, 123.68)
BN_MOMENTUM = (
    0.9  # the paper names none; at Keras' 0.99 short runs are validated with statistics that are not theirs yet
)


class Counts(NamedTuple):
    """Parameters of a network, as Keras' summary tells them apart."""

    total: int
    trainable: int
    non_trainable: int


def build(*, frozen_blocks: int, scaling: str, noise: float, dropout: float) -> keras.Model:
    """VGG16 with the paper's head, on median-filtered gray faces; its weights are random.

    | layer (Table 2)          | output      | parameters |
    | ------------------------ | ----------- | ---------- |
    | VGG16 without top        | (1, 1, 512) | 14,714,688 |
    | batch normalization      | (1, 1, 512) |      2,048 |
    | Gaussian noise           | (1, 1, 512) |          0 |
    | global average pooling   | (512,)      |          0 |
    | flatten                  | (512,)      |          0 |
    | dense 256                | (256,)      |    131,328 |
    | batch normalization      | (256,)      |      1,024 |
    | dropout                  | (256,)      |          0 |
    | dense 128                | (128,)      |     32,896 |
    | batch normalization      | (128,)      |        512 |
    | dropout                  | (128,)      |          0 |
    | dense 7                  | (7,)        |        903 |

    14,883,399 parameters; with blocks 1-3 frozen 13,146,119 train and 1,737,280 do not, as the paper counts them.

    Args:
        frozen_blocks: VGG16's first blocks that do not train, 0 to 5.
        scaling: `caffe` (grey levels minus ImageNet's BGR means) or `unit` ([0, 1]).
        noise: standard deviation of the Gaussian noise, in units of the normalized features.
        dropout: rate of both dropouts, in [0, 1).

    Returns:
        A model from uint8 (N, 48, 48) to float32 probabilities (N, 7), in the order of `labels.NAMES`.
    """
    base = keras.applications.VGG16(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3), name="vgg16")
    for layer in base.layers:
        layer.trainable = not layer.name.startswith(tuple(f"block{n}_" for n in range(1, frozen_blocks + 1)))
    faces = keras.Input((SIDE, SIDE), dtype="uint8", name="faces")
    x = base(scale(faces, scaling))
    x = layers.BatchNormalization(momentum=BN_MOMENTUM)(x)
    x = layers.GaussianNoise(noise)(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Flatten()(x)
    for units in (256, 128):
        x = layers.Dense(units, activation="relu")(x)
        x = layers.BatchNormalization(momentum=BN_MOMENTUM)(x)
        x = layers.Dropout(dropout)(x)
    # the softmax stays in float32 under mixed precision
    probabilities = layers.Dense(len(NAMES), activation="softmax", dtype="float32", name="probabilities")(x)
    return keras.Model(faces, probabilities, name="fer_vgg16")


def scale(faces: Any, scaling: str) -> Any:
    """Gray uint8 (N, 48, 48), an array or a symbolic tensor, to the three channels that VGG16 takes."""
    gray = ops.expand_dims(ops.cast(faces, "float32"), -1)
    if scaling == "unit":
        return ops.repeat(gray / 255.0, 3, axis=-1)
    # gray in all three channels: RGB and BGR are the same, only the means differ
    return ops.concatenate([gray - mean for mean in CAFFE_MEANS], axis=-1)


def counts(model: keras.Model) -> Counts:
    """Total, trainable and non-trainable parameters; a batch norm's moving statistics do not train."""
    trainable = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    total = sum(math.prod(variable.shape) for variable in model.weights)
    return Counts(total, trainable, total - trainable)


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
    """Median filter of uint8 (N, H, W) as `keras.ops`: equal to cv2.medianBlur to the bit.

    cv2 repeats the border pixel; symmetric padding does so for one pixel, so it is applied once a pixel of radius.
    """
    if kernel == 1:
        return faces
    radius = kernel // 2
    padded = faces
    for _ in range(radius):
        padded = _pad_edge(padded)
    height, width = faces.shape[1], faces.shape[2]
    windows = [padded[:, top : top + height, left : left + width] for top in range(kernel) for left in range(kernel)]
    return _middle(windows)


def _pad_edge(faces: keras.KerasTensor) -> keras.KerasTensor:
    return ops.pad(faces, [[0, 0], [1, 1], [1, 1]], mode="symmetric")


def _middle(windows: list[keras.KerasTensor]) -> keras.KerasTensor:
    """Median of an odd number of equal-shaped tensors: drop the least and the greatest of what can still be it.

    The first n//2 + 2 candidates cannot all lie on one side of the median, so their extremes are not the median;
    each round drops two and lets one in.
    """
    n = len(windows)
    candidates, waiting = list(windows[: n // 2 + 2]), list(windows[n // 2 + 2 :])
    while len(candidates) > 1:
        for index in range(len(candidates) - 1):  # the greatest moves to the end
            low, high = candidates[index], candidates[index + 1]
            candidates[index], candidates[index + 1] = ops.minimum(low, high), ops.maximum(low, high)
        for index in range(len(candidates) - 2, 0, -1):  # the least moves to the front
            low, high = candidates[index - 1], candidates[index]
            candidates[index - 1], candidates[index] = ops.minimum(low, high), ops.maximum(low, high)
        candidates = candidates[1:-1] + ([waiting.pop(0)] if waiting else [])
    return candidates[0]
