"""Batch norms folded into the convolutions before them: what vgg16_best learned, in the shapes of plain VGG16."""

from typing import Any

import keras
import numpy as np

from ferops.errors import FeropsError
from ferops.labels import SIDE


class NotFoldable(FeropsError):
    """A network is not vgg16_best: it has no convolutions with batch norms to fold."""


def fold(core: keras.Model) -> keras.Model:
    """Plain VGG16 that gives the same features as a trained vgg16_best, to rounding.

    Args:
        core: from `vggs.best`, or loaded from its .keras file; left as it is.

    Returns:
        Keras Applications' VGG16 without top, named `vgg16`: float32 (N, 48, 48, 3), scaled as `core` scales its faces,
        to (N, 1, 1, 512).

    Raises:
        NotFoldable: `core` is another network.
    """
    plain = keras.applications.VGG16(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3), name="vgg16")
    try:
        for layer in plain.layers:
            if layer.weights:
                layer.set_weights(_folded(core, layer.name))
    except ValueError:  # no such layer, or of another shape
        raise NotFoldable(f"the network is {core.name}; only vgg16_best has batch norms to fold") from None
    return plain


def _folded(core: keras.Model, name: str) -> list[Any]:
    """Kernel (3, 3, I, O) and bias (O,) of a convolution that does what it and its batch norm did."""
    (kernel,) = core.get_layer(name).get_weights()
    norm = core.get_layer(f"{name}_norm")
    gamma, beta, mean, variance = norm.get_weights()
    gain = gamma / np.sqrt(variance + norm.epsilon)
    return [kernel * gain, beta - mean * gain]
