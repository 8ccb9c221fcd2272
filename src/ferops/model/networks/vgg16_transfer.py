"""The paper's network: its Table 2."""

import keras
from keras import layers

from ferops.model.networks.building_blocks import BN_MOMENTUM, faces_input, probabilities, vgg16
from ferops.params import Model


def build(settings: Model) -> keras.Model:
    """Build VGG16 with the paper's head, on median-filtered gray faces; its weights are random.

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
    faces, x = faces_input(settings.scaling)
    x = vgg16(settings)(x)
    x = layers.BatchNormalization(momentum=BN_MOMENTUM)(x)
    x = layers.GaussianNoise(settings.noise)(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Flatten()(x)
    x = layers.Dense(256, activation="relu")(x)
    x = layers.BatchNormalization(momentum=BN_MOMENTUM)(x)
    x = layers.Dropout(settings.dropout)(x)
    x = layers.Dense(128, activation="relu")(x)
    x = layers.BatchNormalization(momentum=BN_MOMENTUM)(x)
    x = layers.Dropout(settings.dropout)(x)
    return keras.Model(faces, probabilities(x), name=settings.name)
