"""The networks by the names in `model.name`: the paper's, those of its Table 3, and ours."""

import math
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
    """Build the network that a `model` section describes; its weights are random.

    Returns:
        A model of the system's name, from `faces`, uint8 (N, 48, 48), to probabilities, float32 (N, 7). A system that
        takes descriptors, beside the faces or alone, has an input under the name of each: see `descriptors.inputs`.
    """
    return _BUILDERS[settings.name](settings)


def training_graph(core: keras.Model) -> keras.Model:
    """Return the model to fit for a network: itself, or together with the generator that it plays against.

    It shares the network's variables, so fitting it trains the network.
    """
    return adversarial.against_generator(core) if core.name == "gan_augmented" else core


def any_size(network: keras.Model) -> keras.Model:
    """Return a model that shares a network's layers and takes faces of any size, for the systems `params.RESIZABLE`."""
    faces = keras.Input((None, None), dtype="uint8", name="faces")
    return keras.models.clone_model(network, input_tensors=faces, clone_function=lambda layer: layer)


def counts(network: keras.Model) -> dict[str, int]:
    """Count `total`, `trainable` and `non_trainable` parameters; a batch norm's moving statistics do not train."""
    total, trainable = network.count_params(), sum(math.prod(one.shape) for one in network.trainable_variables)
    return {"total": total, "trainable": trainable, "non_trainable": total - trainable}
