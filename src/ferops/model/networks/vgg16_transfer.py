"""The paper's network (its Table 2), and what other systems share with it."""

import math
from typing import Any, NamedTuple

import keras
from keras import layers, ops

from ferops.labels import NAMES, SIDE
from ferops.params import Model

CAFFE_MEANS = (103.939, 116.779, 123.68)
BN_MOMENTUM = (
    0.9  # the paper names none; at Keras' 0.99 short runs are validated with statistics that are not theirs yet
)


class Counts(NamedTuple):
    """Parameters of a network, as Keras' summary tells them apart."""

    total: int
    trainable: int
    non_trainable: int


def build(settings: Model) -> keras.Model:
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
        settings: `frozen_blocks` of VGG16 that do not train; `scaling`; `noise`, the standard deviation of the Gaussian
            noise in units of the normalized features; `dropout`, the rate of both.

    Returns:
        A model from uint8 (N, 48, 48) to float32 probabilities (N, 7), in the order of `labels.NAMES`.
    """
    faces = keras.Input((SIDE, SIDE), dtype="uint8", name="faces")
    x = base(settings)(scale(faces, settings.scaling))
    x = layers.BatchNormalization(momentum=BN_MOMENTUM)(x)
    x = layers.GaussianNoise(settings.noise)(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Flatten()(x)
    for units in (256, 128):
        x = layers.Dense(units, activation="relu")(x)
        x = layers.BatchNormalization(momentum=BN_MOMENTUM)(x)
        x = layers.Dropout(settings.dropout)(x)
    return keras.Model(faces, probabilities(x), name=settings.name)


def base(settings: Model) -> keras.Model:
    """VGG16 without top, named `vgg16`, its first `frozen_blocks` blocks frozen: (N, 48, 48, 3) to (N, 1, 1, 512)."""
    vgg16 = keras.applications.VGG16(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3), name="vgg16")
    frozen = tuple(f"block{n}_" for n in range(1, settings.frozen_blocks + 1))
    for layer in vgg16.layers:
        layer.trainable = not layer.name.startswith(frozen)
    return vgg16


def probabilities(x: Any) -> Any:
    """The last layer of every system: features (N, M) to probabilities (N, 7)."""
    # the softmax stays in float32 under mixed precision
    return layers.Dense(len(NAMES), activation="softmax", dtype="float32", name="probabilities")(x)


def gray(faces: Any) -> Any:
    """Gray uint8 (N, 48, 48), an array or a symbolic tensor, to float32 (N, 48, 48, 1) in [0, 1]."""
    return ops.expand_dims(ops.cast(faces, "float32"), -1) / 255.0


def scale(faces: Any, scaling: str) -> Any:
    """Gray uint8 (N, 48, 48), an array or a symbolic tensor, to the three channels that VGG16 takes."""
    if scaling == "unit":
        return ops.repeat(gray(faces), 3, axis=-1)
    levels = ops.expand_dims(ops.cast(faces, "float32"), -1)
    # gray in all three channels: RGB and BGR are the same, only the means differ
    return ops.concatenate([levels - mean for mean in CAFFE_MEANS], axis=-1)


def counts(model: keras.Model) -> Counts:
    """Total, trainable and non-trainable parameters; a batch norm's moving statistics do not train."""
    trainable = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    total = sum(math.prod(variable.shape) for variable in model.weights)
    return Counts(total, trainable, total - trainable)
