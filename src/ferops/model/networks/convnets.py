"""Networks that start from random weights: of the paper's Table 3, of its future work, ours, and the baseline.

Each reads `name` and `dropout` of `settings` and returns float32 probabilities (N, 7) in the order of `labels.NAMES`.
Every convolution, and every dense layer but the last, is followed by batch normalization and ReLU; the tables include
the parameters of both.
"""

from typing import Any

import keras
from keras import layers, ops

from ferops.labels import SIDE
from ferops.model.networks import building_blocks, descriptors
from ferops.params import Model


def cnn(settings: Model) -> keras.Model:
    """Build a plain CNN on raw pixels, uint8 (N, 48, 48), after Singh and Nasoz (2020), who report 61.7% on FER2013.

    Like theirs it has no preprocessing and no feature extraction; their layers are not published, so these are pairs of
    3 x 3 convolutions, as in VGG.

    | layer                     | output        | parameters |
    | ------------------------- | ------------- | ---------- |
    | 2 convolutions 3 x 3, 32  | (48, 48, 32)  |      9,760 |
    | max pooling 2, dropout    | (24, 24, 32)  |          0 |
    | 2 convolutions 3 x 3, 64  | (24, 24, 64)  |     55,808 |
    | max pooling 2, dropout    | (12, 12, 64)  |          0 |
    | 2 convolutions 3 x 3, 128 | (12, 12, 128) |    222,208 |
    | max pooling 2, dropout    | (6, 6, 128)   |          0 |
    | dense 256, dropout        | (256,)        |  1,180,672 |
    | dense 7                   | (7,)          |      1,799 |
    """
    faces, x = building_blocks.faces_input()
    for filters in (32, 64, 128):
        x = _convolution(_convolution(x, filters, 3), filters, 3)
        x = layers.Dropout(settings.dropout)(layers.MaxPooling2D()(x))
    x = _dense(layers.Flatten()(x), 256, settings.dropout)
    return keras.Model(faces, building_blocks.probabilities(x), name=settings.name)


def lbp_orb(settings: Model) -> keras.Model:
    """Build a four-layer ConvNet on pixels, local binary patterns and ORB descriptors, after Debnath et al. (2022).

    Four convolutions, two dense layers and the fusion with LBP and ORB are theirs; sizes, and where the two enter, are
    not published. Here the LBP image is a second channel, since it has a code for each pixel, and ORB's bits join the
    features before the dense layers.

    | layer                            | output        | parameters |
    | -------------------------------- | ------------- | ---------- |
    | pixels and LBP                   | (48, 48, 2)   |          0 |
    | convolution 3 x 3, 64            | (48, 48, 64)  |      1,408 |
    | max pooling 2, dropout           | (24, 24, 64)  |          0 |
    | convolution 3 x 3, 128           | (24, 24, 128) |     74,240 |
    | max pooling 2, dropout           | (12, 12, 128) |          0 |
    | convolution 3 x 3, 256           | (12, 12, 256) |    295,936 |
    | max pooling 2, dropout           | (6, 6, 256)   |          0 |
    | convolution 3 x 3, 256           | (6, 6, 256)   |    590,848 |
    | max pooling 2, dropout           | (3, 3, 256)   |          0 |
    | features and ORB                 | (6400,)       |          0 |
    | dense 256, dropout               | (256,)        |  1,639,424 |
    | dense 512, dropout               | (512,)        |    133,120 |
    | dense 7                          | (7,)          |      3,591 |

    Returns:
        A model from `faces`, uint8 (N, 48, 48), and `orb`, their descriptors of `descriptors.orb`, float32 (N, 4096).
    """
    faces, x = building_blocks.faces_input()
    orb = keras.Input((descriptors.ORB_LENGTH,), dtype="float32", name="orb")
    x = layers.Concatenate()([x, local_binary_patterns(faces)])
    for filters in (64, 128, 256, 256):
        x = layers.MaxPooling2D()(_convolution(x, filters, 3))
        x = layers.Dropout(settings.dropout)(x)
    x = layers.Concatenate()([layers.Flatten()(x), orb])
    x = _dense(x, 256, settings.dropout)
    x = _dense(x, 512, settings.dropout)
    return keras.Model({"faces": faces, "orb": orb}, building_blocks.probabilities(x), name=settings.name)


def realtime(settings: Model) -> keras.Model:
    """Build a CNN on uint8 (N, 48, 48) small enough for a Raspberry Pi with a camera, after Zahra et al. (2020).

    Task and computer are theirs; their layers are not published, so this is one convolution a scale: 27 million
    multiplications a face.

    | layer                  | output        | parameters |
    | ---------------------- | ------------- | ---------- |
    | convolution 3 x 3, 32  | (48, 48, 32)  |        416 |
    | max pooling 2          | (24, 24, 32)  |          0 |
    | convolution 3 x 3, 64  | (24, 24, 64)  |     18,688 |
    | max pooling 2          | (12, 12, 64)  |          0 |
    | convolution 3 x 3, 128 | (12, 12, 128) |     74,240 |
    | max pooling 2          | (6, 6, 128)   |          0 |
    | convolution 3 x 3, 128 | (6, 6, 128)   |    147,968 |
    | max pooling 2, dropout | (3, 3, 128)   |          0 |
    | dense 128, dropout     | (128,)        |    147,968 |
    | dense 7                | (7,)          |        903 |
    """
    faces, x = building_blocks.faces_input()
    for filters in (32, 64, 128, 128):
        x = layers.MaxPooling2D()(_convolution(x, filters, 3))
    x = layers.Flatten()(layers.Dropout(settings.dropout)(x))
    x = _dense(x, 128, settings.dropout)
    return keras.Model(faces, building_blocks.probabilities(x), name=settings.name)


def alexnet(settings: Model) -> keras.Model:
    """Build AlexNet in one tower (Krizhevsky et al., 2012), from uint8 (N, 48, 48).

    Five convolutions, the positions of the poolings and two dense layers are theirs. Adapted to 48 x 48: the first
    filter is 7 x 7 at stride 2 instead of 11 x 11 at 4, all layers are padded, the dense ones are half as wide. Batch
    normalization replaces local response normalization.

    | layer                         | output        | parameters |
    | ----------------------------- | ------------- | ---------- |
    | convolution 7 x 7, 96, by 2   | (24, 24, 96)  |      5,088 |
    | max pooling 3, by 2           | (12, 12, 96)  |          0 |
    | convolution 5 x 5, 256        | (12, 12, 256) |    615,424 |
    | max pooling 3, by 2           | (6, 6, 256)   |          0 |
    | convolution 3 x 3, 384        | (6, 6, 384)   |    886,272 |
    | convolution 3 x 3, 384        | (6, 6, 384)   |  1,328,640 |
    | convolution 3 x 3, 256        | (6, 6, 256)   |    885,760 |
    | max pooling 3, by 2           | (3, 3, 256)   |          0 |
    | dense 2048, dropout           | (2048,)       |  4,726,784 |
    | dense 2048, dropout           | (2048,)       |  4,202,496 |
    | dense 7                       | (7,)          |     14,343 |
    """
    faces, x = building_blocks.faces_input()
    x = layers.MaxPooling2D(3, 2, padding="same")(_convolution(x, 96, 7, strides=2))
    x = layers.MaxPooling2D(3, 2, padding="same")(_convolution(x, 256, 5))
    x = _convolution(x, 384, 3)
    x = _convolution(x, 384, 3)
    x = layers.MaxPooling2D(3, 2, padding="same")(_convolution(x, 256, 3))
    x = _dense(layers.Flatten()(x), 2048, settings.dropout)
    x = _dense(x, 2048, settings.dropout)
    return keras.Model(faces, building_blocks.probabilities(x), name=settings.name)


def lean(settings: Model) -> keras.Model:
    """Build ours, on uint8 (N, 48, 48): at width 1 the most accurate that twenty minutes on two CPU cores can train.

    The stride of the first layer leaves a quarter of the pixels to the others, and plain 3 x 3 convolutions are the
    fastest on a CPU: 35 million multiplications a face, 78 at width 1.5. Two that keep the shape have a residual
    connection. At width 1:

    | layer                             | output        | parameters |
    | --------------------------------- | ------------- | ---------- |
    | convolution 3 x 3, 32, by 2       | (24, 24, 32)  |        416 |
    | convolution 3 x 3, 32             | (24, 24, 32)  |      9,344 |
    | convolution 3 x 3, 64, by 2       | (12, 12, 64)  |     18,688 |
    | residual, 2 x 3 x 3, 64           | (12, 12, 64)  |     74,240 |
    | convolution 3 x 3, 128, by 2      | (6, 6, 128)   |     74,240 |
    | residual, 2 x 3 x 3, 128          | (6, 6, 128)   |    295,936 |
    | convolution 3 x 3, 256, by 2      | (3, 3, 256)   |    295,936 |
    | global average pooling, dropout   | (256,)        |          0 |
    | dense 7                           | (7,)          |      1,799 |
    """
    faces, x = building_blocks.faces_input()
    first, second, third, last = (round(settings.width * filters) for filters in (32, 64, 128, 256))
    x = _convolution(x, first, 3, strides=2)
    x = _convolution(x, first, 3)
    for filters in (second, third):
        x = _residual(_convolution(x, filters, 3, strides=2))
    x = _convolution(x, last, 3, strides=2)
    x = layers.Dropout(settings.dropout)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(faces, building_blocks.probabilities(x), name=settings.name)


def hog_linear(settings: Model) -> keras.Model:
    """Build the baseline: multinomial logistic regression on `hog`, the descriptors of `descriptors.hog`, (N, 900)."""
    hog = keras.Input((descriptors.HOG_LENGTH,), dtype="float32", name="hog")
    return keras.Model({"hog": hog}, building_blocks.probabilities(hog), name=settings.name)


def local_binary_patterns(faces: Any) -> Any:
    """Compute local binary patterns (Ojala et al., 1996) of uint8 (N, 48, 48): float32 (N, 48, 48, 1) in [0, 1].

    A code has a bit for each neighbour, clockwise from the upper left, the lowest: whether it is no darker than the
    pixel; it is divided by 255. Beyond the border the nearest pixel repeats.
    """
    padded = ops.pad(faces, [[0, 0], [1, 1], [1, 1]], mode="symmetric")
    clockwise = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))
    bits = [padded[:, top : top + SIDE, left : left + SIDE] >= faces for top, left in clockwise]
    codes = sum(2.0**place * ops.cast(bit, "float32") for place, bit in enumerate(bits))
    return ops.expand_dims(codes, -1) / 255.0


def _convolution(x: Any, filters: int, side: int, strides: int = 1) -> Any:
    x = layers.Conv2D(filters, side, strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization(momentum=building_blocks.BN_MOMENTUM)(x))


def _residual(x: Any) -> Any:
    """Apply two convolutions 3 x 3 with a residual connection, as in ResNet-18 (He et al., 2016)."""
    filters = x.shape[-1]
    y = _convolution(x, filters, 3)
    y = layers.Conv2D(filters, 3, padding="same", use_bias=False)(y)
    y = layers.BatchNormalization(momentum=building_blocks.BN_MOMENTUM)(y)
    return layers.ReLU()(layers.Add()([x, y]))


def _dense(x: Any, units: int, dropout: float) -> Any:
    x = layers.Dense(units, use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=building_blocks.BN_MOMENTUM)(x))
    return layers.Dropout(dropout)(x)
