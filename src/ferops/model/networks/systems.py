"""The systems by their names: the paper's, those of its Table 3, and ours."""

from collections.abc import Callable
from typing import Final

import keras

from ferops.model.networks import adversarial, convnets, vgg16_transfer, vggs
from ferops.params import Model, SystemName

_BUILDERS: Final[dict[SystemName, Callable[[Model], keras.Model]]] = {
    "vgg16_transfer": vgg16_transfer.build,
    "vgg16_features_mlp": vggs.features_mlp,
    "vgg_spinal": vggs.spinal,
    "vgg_progressive_spinal": vggs.progressive_spinal,
    "vgg16_best": vggs.best,
    "cnn": convnets.cnn,
    "cnn_lbp_orb": convnets.lbp_orb,
    "cnn_realtime": convnets.realtime,
    "alexnet": convnets.alexnet,
    "lean_cnn": convnets.lean,
    "gan_augmented": adversarial.discriminator,
    "hog_linear": convnets.hog_linear,
}


def build(settings: Model) -> keras.Model:
    """The network that a `model` section describes; its weights are random.

    Returns:
        A model of the system's name, from `faces`, uint8 (N, 48, 48), to probabilities, float32 (N, 7). Where it looks
        at descriptors too, or at them alone, its inputs bear their names: `descriptors.inputs` makes them from faces.
    """
    return _BUILDERS[settings.name](settings)


def fitted(core: keras.Model) -> keras.Model:
    """The graph that is fitted so that a network learns: itself, or with the generator that it plays against.

    It shares the network's variables: what is fitted is trained.
    """
    return adversarial.against_generator(core) if core.name == "gan_augmented" else core
