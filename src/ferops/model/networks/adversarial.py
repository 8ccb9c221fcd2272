"""A network that learns from a generator's images too, and against them: the system `gan_augmented`."""

from typing import Any, Final

import keras
from keras import layers, ops, random

from ferops.labels import NAMES, SIDE
from ferops.model.networks import vgg16_transfer
from ferops.params import Model

NOISE: Final = 100
"""Numbers that an image is made from, beside its class."""

_BLUR: Final = 0.1
"""Standard deviation of the noise on all images, of the grey levels in [0, 1]: without it real and made ones are told
apart within an epoch, and the generator has nothing left to learn from (Sonderby et al. 2017)."""

_DOUBT: Final = 0.1
"""Share of real images that are to be taken for made ones (one-sided label smoothing: Salimans et al. 2016)."""

_SHARE: Final = 0.1
"""Weight of the made images' class loss; at 1 the two sides agree on signs for the classes that no real face bears."""

_SURE: Final = 5.0  # log-odds beyond which the generator's gradient grows no more


def discriminator(settings: Model) -> keras.Model:
    """The network that is kept: a discriminator that names expressions, after Wang and Odena et al. (2017).

    | layer                          | output        | parameters |
    | ------------------------------ | ------------- | ---------- |
    | Gaussian noise                 | (48, 48, 1)   |          0 |
    | convolution 3 x 3, 32          | (48, 48, 32)  |        320 |
    | convolution 3 x 3, 64, by 2    | (24, 24, 64)  |     18,496 |
    | convolution 3 x 3, 64          | (24, 24, 64)  |     36,928 |
    | convolution 3 x 3, 128, by 2   | (12, 12, 128) |     73,856 |
    | convolution 3 x 3, 128         | (12, 12, 128) |    147,584 |
    | convolution 3 x 3, 256, by 2   | (6, 6, 256)   |    295,168 |
    | convolution 3 x 3, 256         | (6, 6, 256)   |    590,080 |
    | dropout, dense 7               | (7,)          |     64,519 |

    1,226,951 parameters. Of Wang's system no more is known here than a generator and a discriminator; the layers are
    those of DCGAN (Radford et al. 2016). No batch norm: its statistics would mix real and made images.

    Args:
        settings: `dropout`.

    Returns:
        A model from uint8 (N, 48, 48) to float32 probabilities (N, 7), in the order of `labels.NAMES`.
    """
    faces = keras.Input((SIDE, SIDE), dtype="uint8", name="faces")
    x = layers.GaussianNoise(_BLUR, name="images")(vgg16_transfer.gray(faces))
    for filters, strides in ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1)):
        x = layers.Conv2D(filters, 3, strides, padding="same", kernel_initializer="he_normal")(x)
        x = layers.LeakyReLU(0.2)(x)
    x = layers.Dropout(settings.dropout, name="features")(layers.Flatten()(x))
    return keras.Model(faces, vgg16_transfer.probabilities(x), name=settings.name)


def against_generator(core: keras.Model) -> keras.Model:
    """The graph that is fitted: the network, and in training a generator that plays against it.

    Made images are training images too: their class loss falls for both. Whether an image is real or made is a loss of
    its own that falls for the network and rises for the generator. Both are added to the loss that `fit` minimises, so
    one optimizer trains both sides in one step.

    Args:
        core: of `discriminator`; its variables are shared.

    Returns:
        A model from uint8 (N, 48, 48) to the core's probabilities. Outside of training it is the core.
    """
    features = core.get_layer("features").output
    return keras.Model(core.input, _Game(core)([features, core.output]), name="gan_augmented_game")


def generator() -> keras.Model:
    """From noise (N, 100) and a one-hot class (N, 7) to images in [0, 1], float32 (N, 48, 48, 1)."""
    noise, classes = keras.Input((NOISE,)), keras.Input((len(NAMES),))
    x = layers.Dense(6 * 6 * 256, activation="relu")(layers.Concatenate()([noise, classes]))
    x = layers.Reshape((6, 6, 256))(x)
    for filters in (128, 64, 32):
        # a transposed convolution leaves a chequered pattern, by which made images are told at once
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(layers.UpSampling2D()(x))
        x = layers.ReLU()(layers.BatchNormalization(momentum=vgg16_transfer.BN_MOMENTUM)(x))
    images = layers.Conv2D(1, 3, padding="same", activation="sigmoid", dtype="float32")(x)
    return keras.Model([noise, classes], images, name="generator")


def against(images: Any, gain: Any) -> Any:
    """The same images; a loss of them that is minimised is maximised by what made them, `gain` times as strongly.

    Args:
        images: float32 (N, 48, 48, 1).
        gain: float32 (N, 1, 1, 1).
    """
    return ops.stop_gradient(images * (1 + gain)) - images * gain


class _Game(layers.Layer):  # type: ignore[misc]
    """Hands the probabilities of real images through; in training it makes as many images and adds their losses."""

    def __init__(self, core: keras.Model) -> None:
        super().__init__(name="game", dtype="float32")
        self.generator = generator()
        self.source = layers.Dense(1, dtype="float32", name="source")
        self.seed_generator = random.SeedGenerator(0)  # reseeded every epoch, as those of dropout are
        images = core.get_layer("images").input
        self.judge = keras.Model(images, [core.get_layer("features").output, core.output], name="judge")

    def build(self, shapes: Any) -> None:
        self.source.build(shapes[0])

    def call(self, inputs: Any, training: bool = False) -> Any:
        features, probabilities = inputs
        if not training:
            return probabilities
        n = ops.shape(features)[0]
        classes = ops.one_hot(random.randint((n,), 0, len(NAMES), seed=self.seed_generator), len(NAMES))
        made = self.generator([random.normal((n, NOISE), seed=self.seed_generator), classes], training=True)
        seen, named = self.judge(made, training=True)
        # a generator whose images are seen through would learn nothing: its gradient is weighed by the odds of that
        odds = ops.exp(ops.clip(-ops.stop_gradient(self.source(seen)), -_SURE, _SURE))
        unmasked = self.source(self.judge(against(made, odds[:, :, None, None]), training=True)[0])
        real = self.source(features)
        self.add_loss(_SHARE * ops.mean(keras.losses.categorical_crossentropy(classes, named)))
        self.add_loss(ops.mean(ops.softplus(-real) + _DOUBT * real) + ops.mean(ops.softplus(unmasked)))
        return probabilities
