"""Layers that several networks share: input, scaling, VGG16's convolutions, output."""

from typing import Any, Final

import keras
from keras import layers, ops

from ferops.labels import NAMES, SIDE
from ferops.params import Model

BN_MOMENTUM: Final = 0.9
"""Of every batch norm. The paper names none; Keras' 0.99 needs more steps than a short run has."""

CAFFE_MEANS: Final = (103.939, 116.779, 123.68)
"""Means of ImageNet's blue, green and red, which VGG16 was trained without."""


def faces_input(scaling: str | None = None) -> tuple[Any, Any]:
    """Return the input of a network on pixels, gray levels uint8 (N, 48, 48), and its faces in float32.

    Args:
        scaling: for VGG16, see `scale`; without one the faces are `gray`.
    """
    faces = keras.Input((SIDE, SIDE), dtype="uint8", name="faces")
    return faces, scale(faces, scaling) if scaling else gray(faces)


def gray(faces: Any) -> Any:
    """Scale gray uint8 (N, 48, 48), an array or a symbolic tensor, to float32 (N, 48, 48, 1) in [0, 1]."""
    return ops.expand_dims(ops.cast(faces, "float32"), -1) / 255.0


def scale(faces: Any, scaling: str) -> Any:
    """Scale gray uint8 (N, 48, 48), an array or a symbolic tensor, to VGG16's input, float32 (N, 48, 48, 3).

    Args:
        faces: gray levels.
        scaling: `caffe`, as ImageNet's VGG16 expects it, or `unit`, to [0, 1].
    """
    if scaling == "unit":
        return ops.repeat(gray(faces), 3, axis=-1)
    levels = ops.expand_dims(ops.cast(faces, "float32"), -1)
    # gray in all three channels: RGB and BGR are the same, only the means differ
    return ops.concatenate([levels - mean for mean in CAFFE_MEANS], axis=-1)


def vgg16(settings: Model) -> keras.Model:
    """Build VGG16 without top, its first `frozen_blocks` blocks frozen: (N, 48, 48, 3) to (N, 1, 1, 512).

    The model is named `vgg16`; its weights are random.
    """
    base = keras.applications.VGG16(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3), name="vgg16")
    frozen = tuple(f"block{n}_" for n in range(1, settings.frozen_blocks + 1))
    for layer in base.layers:
        layer.trainable = not layer.name.startswith(frozen)
    return base


def probabilities(x: Any) -> Any:
    """Apply the last layer of every network: features (N, M) to probabilities, float32 (N, 7)."""
    # the softmax stays in float32 under mixed precision
    return layers.Dense(len(NAMES), activation="softmax", dtype="float32", name="probabilities")(x)
