"""The system `gan_augmented`: a generative adversarial network (GAN) whose discriminator is the classifier."""

from typing import Any, Final

import keras
from keras import layers, ops, random

from ferops.labels import NAMES
from ferops.model.networks import building_blocks
from ferops.params import Model

NOISE: Final = 100
"""Length of the random vector that an image is generated from, beside its class."""

_BLUR: Final = 0.1
"""Standard deviation of the noise on all images, of the gray levels in [0, 1]: without it the discriminator separates
real and generated ones within an epoch, and the generator's gradient vanishes (Sonderby et al. 2017)."""

_SMOOTHING: Final = 0.1
"""Share by which the label of real images is smoothed (one-sided label smoothing: Salimans et al. 2016)."""

_CLASS_WEIGHT: Final = 0.1
"""Of the generated images' class loss; at 1 the two sides agree on class marks that no real face has."""

_MAX_LOG_ODDS: Final = 5.0  # beyond them the generator's gradient grows no more


def discriminator(settings: Model) -> keras.Model:
    """Build the network that is kept: a discriminator that classifies expressions, after Wang and Odena et al. (2017).

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

    1,226,951 parameters. Of Wang's system no more is published than a generator and a discriminator; the layers are
    those of DCGAN (Radford et al. 2016). No batch norm: its statistics would mix real and generated images.

    Args:
        settings: `dropout`.

    Returns:
        A model from uint8 (N, 48, 48) to float32 probabilities (N, 7), in the order of `labels.NAMES`.
    """
    faces, x = building_blocks.faces_input()
    x = layers.GaussianNoise(_BLUR, name="images")(x)
    for filters, strides in ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1)):
        x = layers.Conv2D(filters, 3, strides, padding="same", kernel_initializer="he_normal")(x)
        x = layers.LeakyReLU(0.2)(x)
    x = layers.Dropout(settings.dropout, name="features")(layers.Flatten()(x))
    return keras.Model(faces, building_blocks.probabilities(x), name=settings.name)


def against_generator(core: keras.Model) -> keras.Model:
    """Build the model to fit: the network, and in training a generator that plays against it.

    Generated images are training images too: both sides minimize their class loss. Whether an image is real or
    generated is a second loss, which the network minimizes and the generator maximizes. Both are added to the loss of
    `fit`, so one optimizer trains both sides in one step.

    Args:
        core: of `discriminator`; its variables are shared.

    Returns:
        A model from uint8 (N, 48, 48) to the core's probabilities. Outside of training it equals the core.
    """
    features = core.get_layer("features").output
    return keras.Model(core.input, _Game(core)([features, core.output]), name="gan_augmented_game")


def generator() -> keras.Model:
    """Build the generator: noise (N, 100) and a one-hot class (N, 7) to images in [0, 1], float32 (N, 48, 48, 1)."""
    noise, classes = keras.Input((NOISE,)), keras.Input((len(NAMES),))
    x = layers.Dense(6 * 6 * 256, activation="relu")(layers.Concatenate()([noise, classes]))
    x = layers.Reshape((6, 6, 256))(x)
    for filters in (128, 64, 32):
        # a transposed convolution leaves a checkerboard, by which generated images are recognized at once
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(layers.UpSampling2D()(x))
        x = layers.ReLU()(layers.BatchNormalization(momentum=building_blocks.BN_MOMENTUM)(x))
    images = layers.Conv2D(1, 3, padding="same", activation="sigmoid", dtype="float32")(x)
    return keras.Model([noise, classes], images, name="generator")


def reverse_gradient(images: Any, gain: Any) -> Any:
    """Return the images unchanged, with a gradient that is reversed and multiplied by `gain` on its way back.

    Where a loss of them is minimized, their generator maximizes it (gradient reversal: Ganin et al. 2016).

    Args:
        images: float32 (N, 48, 48, 1).
        gain: float32 (N, 1, 1, 1).
    """
    return ops.stop_gradient(images * (1 + gain)) - images * gain


class _Game(layers.Layer):  # type: ignore[misc]
    """Passes the probabilities of real images on; in training it generates as many images and adds their losses."""

    def __init__(self, core: keras.Model) -> None:
        super().__init__(name="game", dtype="float32")
        self.generator = generator()
        self.source = layers.Dense(1, dtype="float32", name="source")
        self.seed_generator = random.SeedGenerator(0)  # reseeded every epoch, as dropout is
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
        generated = self.generator([random.normal((n, NOISE), seed=self.seed_generator), classes], training=True)
        seen, named = self.judge(generated, training=True)
        # a generator whose images are always recognized would learn nothing: its gradient is weighted by the odds
        log_odds = ops.clip(-ops.stop_gradient(self.source(seen)), -_MAX_LOG_ODDS, _MAX_LOG_ODDS)
        reversed_ = reverse_gradient(generated, ops.exp(log_odds)[:, :, None, None])
        fake = self.source(self.judge(reversed_, training=True)[0])
        real = self.source(features)
        self.add_loss(_CLASS_WEIGHT * ops.mean(keras.losses.categorical_crossentropy(classes, named)))
        self.add_loss(ops.mean(ops.softplus(-real) + _SMOOTHING * real) + ops.mean(ops.softplus(fake)))
        return probabilities
