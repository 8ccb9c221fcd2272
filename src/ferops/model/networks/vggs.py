"""Networks made of VGG16: three heads on Keras Applications' own, and ours, trained from scratch."""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from ferops.labels import SIDE
from ferops.model.networks.building_blocks import BN_MOMENTUM, faces_input, probabilities, vgg16
from ferops.params import Model


def features_mlp(settings: Model) -> keras.Model:
    """Build a multilayer perceptron on the features of VGG16, after Al-Asbaily and Bozed; its weights are random.

    | layer     | output | parameters |
    | --------- | ------ | ---------- |
    | VGG16     | (512,) | 14,714,688 |
    | dense 512 | (512,) |    262,656 |
    | dense 512 | (512,) |    262,656 |
    | dense 7   | (7,)   |      3,591 |

    15,243,591 parameters; with all five blocks frozen 528,903 train. Published is no more than a frozen VGG16
    and a classic neural network: two hidden layers, each with a dropout, are VGG16's own top, as wide as the features.

    Args:
        settings: `frozen_blocks` of VGG16 that do not train; `scaling`; `dropout`, the rate of both.

    Returns:
        A model from uint8 (N, 48, 48) to float32 probabilities (N, 7), in the order of `labels.NAMES`.
    """
    faces, x = _features(settings)
    for _ in range(2):
        x = layers.Dense(512, activation="relu")(x)
        x = layers.Dropout(settings.dropout)(x)
    return keras.Model(faces, probabilities(x), name=settings.name)


def spinal(settings: Model) -> keras.Model:
    """Build a SpinalNet on VGG16 (Kabir et al. 2020, arXiv 2007.03347), after Khan; its weights are random.

    | layer    | takes                            | output | parameters |
    | -------- | -------------------------------- | ------ | ---------- |
    | VGG16    | faces                            | (512,) | 14,714,688 |
    | spinal 1 | first half of the features (256) | (512,) |    131,584 |
    | spinal 2 | second half and spinal 1 (768)   | (512,) |    393,728 |
    | spinal 3 | first half and spinal 2 (768)    | (512,) |    393,728 |
    | spinal 4 | second half and spinal 3 (768)   | (512,) |    393,728 |
    | dense 7  | spinal 1 to 4 (2,048)            | (7,)   |     14,343 |

    16,041,799 parameters. Khan's sizes are not published: number and width of the layers, and a dropout before each,
    are those of the SpinalNet authors' own VGG16 on images of 32x32 (their code for CIFAR).

    Args:
        settings: `frozen_blocks` of VGG16 that do not train; `scaling`; `dropout`, the rate of all five.

    Returns:
        A model from uint8 (N, 48, 48) to float32 probabilities (N, 7), in the order of `labels.NAMES`.
    """
    faces, x = _features(settings)
    first, second = ops.split(x, 2, axis=-1)
    outputs = [_spinal(first, settings.dropout)]
    for half in (second, first, second):
        outputs.append(_spinal(layers.Concatenate()([half, outputs[-1]]), settings.dropout))
    x = layers.Dropout(settings.dropout)(layers.Concatenate()(outputs))
    return keras.Model(faces, probabilities(x), name=settings.name)


def progressive_spinal(settings: Model) -> keras.Model:
    """Build a ProgressiveSpinalNet on VGG16 (Chopra 2021, arXiv 2103.11373), after Khan; its weights are random.

    | layer    | takes                              | output | parameters |
    | -------- | ---------------------------------- | ------ | ---------- |
    | VGG16    | faces                              | (512,) | 14,714,688 |
    | spinal 1 | features (512)                     | (128,) |     65,664 |
    | spinal 2 | features and spinal 1 (640)        | (128,) |     82,048 |
    | spinal 3 | features, spinal 1 and 2 (768)     | (128,) |     98,432 |
    | spinal 4 | features, spinal 1 to 3 (896)      | (128,) |    114,816 |
    | dense 7  | features and spinal 1 to 4 (1,024) | (7,)   |      7,175 |

    15,082,823 parameters. Khan's sizes are not published: four layers, each a quarter as wide as the features, and one
    dropout of the features are those of Chopra's VGG-5 (his code for KMNIST).

    Args:
        settings: `frozen_blocks` of VGG16 that do not train; `scaling`; `dropout`, the rate of the features' dropout.

    Returns:
        A model from uint8 (N, 48, 48) to float32 probabilities (N, 7), in the order of `labels.NAMES`.
    """
    faces, x = _features(settings)
    x = layers.Dropout(settings.dropout)(x)
    for _ in range(4):
        x = layers.Concatenate()([x, layers.Dense(128, activation="relu")(x)])
    return keras.Model(faces, probabilities(x), name=settings.name)


def best(settings: Model) -> keras.Model:
    """Build ours: VGG16 at FER2013's own size with a batch norm after every convolution; its weights are random.

    | layer                                     | output        | parameters |
    | ----------------------------------------- | ------------- | ---------- |
    | 2 x (convolution, batch norm, ReLU), pool | (24, 24, 64)  |     39,104 |
    | 2 x (convolution, batch norm, ReLU), pool | (12, 12, 128) |    222,208 |
    | 3 x (convolution, batch norm, ReLU), pool | (6, 6, 256)   |  1,477,632 |
    | 3 x (convolution, batch norm, ReLU), pool | (3, 3, 512)   |  5,904,384 |
    | 3 x (convolution, batch norm, ReLU), pool | (1, 1, 512)   |  7,084,032 |
    | global average pooling, dropout           | (512,)        |          0 |
    | dense 7                                   | (7,)          |      3,591 |

    14,730,951 parameters, 14,722,503 trainable. `fold` makes plain VGG16 of it, for the others to start from.

    Args:
        settings: `scaling`, and the rate of `dropout`.

    Returns:
        A model from uint8 (N, 48, 48) to float32 probabilities (N, 7), in the order of `labels.NAMES`.
    """
    faces, x = faces_input(settings.scaling)
    # configuration D of Simonyan and Zisserman (2015)
    for block, (depth, channels) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), start=1):
        for n in range(1, depth + 1):
            name = f"block{block}_conv{n}"  # as in Keras Applications
            # no bias: the batch norm subtracts it again
            x = layers.Conv2D(channels, 3, padding="same", use_bias=False, kernel_initializer="he_normal", name=name)(x)
            x = layers.ReLU()(layers.BatchNormalization(momentum=BN_MOMENTUM, name=f"{name}_norm")(x))
        x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
    x = layers.Dropout(settings.dropout)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(faces, probabilities(x), name=settings.name)


def fold(core: keras.Model) -> keras.Model:
    """Fold the batch norms of a trained vgg16_best into its convolutions: plain VGG16 with the same features.

    Args:
        core: from `best`, or loaded from its .keras file; not changed.

    Returns:
        Keras Applications' VGG16 without top, named `vgg16`: float32 (N, 48, 48, 3), scaled as `core` scales its faces,
        to (N, 1, 1, 512), equal to the core's features up to rounding.
    """
    plain = keras.applications.VGG16(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3), name="vgg16")
    for layer in plain.layers:
        if layer.weights:
            (kernel,) = core.get_layer(layer.name).get_weights()
            norm = core.get_layer(f"{layer.name}_norm")
            gamma, beta, mean, variance = norm.get_weights()
            gain = gamma / np.sqrt(variance + norm.epsilon)
            layer.set_weights([kernel * gain, beta - mean * gain])
    return plain


def _features(settings: Model) -> tuple[Any, Any]:
    """Return the input, and VGG16's features of it: float32 (N, 512)."""
    faces, x = faces_input(settings.scaling)
    return faces, layers.Flatten(name="features")(vgg16(settings)(x))


def _spinal(x: Any, dropout: float) -> Any:
    """Apply a layer of a SpinalNet: (N, M) to (N, 512)."""
    return layers.Dense(512, activation="relu")(layers.Dropout(dropout)(x))
