"""Plain VGG16 out of vgg16_best: the batch norms folded into the convolutions."""

from pathlib import Path

import keras
import numpy as np
import pytest
from model.faces import fourteen_faces

from ferops.model import weights
from ferops.model.networks import building_blocks, systems, vgg16_transfer, vggs
from ferops.params import Model


def settings(name: str) -> Model:
    return Model(name=name, weights="none", frozen_blocks=0, scaling="caffe", noise=0, dropout=0.5)


@pytest.fixture(scope="module")
def core() -> keras.Model:
    """A vgg16_best whose batch norms do something: seen statistics, and scales and shifts of either sign."""
    keras.utils.set_random_seed(0)
    model = vggs.best(settings("vgg16_best"))
    rng = np.random.default_rng(0)
    faces = fourteen_faces()[0]
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for norm in norms:
        # statistics of what comes in, missed by a little: the layers behind then get values of usual size
        came = np.asarray(keras.Model(model.inputs, norm.input)(faces)).reshape(-1, norm.gamma.shape[0])
        gamma, beta, miss = rng.uniform(0.5, 1.5, (3, came.shape[1]))
        sign = rng.choice([-1, 1], came.shape[1])
        norm.set_weights([gamma * sign, beta - 1, came.mean(axis=0) + miss - 1, came.var(axis=0) + miss])
    return model


def test_the_plain_network_gives_what_the_one_with_norms_gave_at_every_depth(core: keras.Model) -> None:
    faces = fourteen_faces()[0]
    plain = vggs.fold(core)
    names = [layer.name for layer in plain.layers if layer.weights]

    # the ReLU that follows a norm in one is part of the convolution in the other
    before = keras.Model(core.inputs, [keras.ops.relu(core.get_layer(f"{name}_norm").output) for name in names])
    after = keras.Model(plain.inputs, [plain.get_layer(name).output for name in names])

    scaled = building_blocks.scale(faces, "caffe")
    for expected, found in zip(before(faces), after(scaled), strict=True):
        np.testing.assert_allclose(np.asarray(found), np.asarray(expected), atol=1e-4)
    pooled = np.asarray(keras.Model(core.inputs, core.get_layer("block5_pool").output)(faces))
    assert pooled.std() > 0.1
    np.testing.assert_allclose(np.asarray(plain(scaled)), pooled, atol=1e-4)


def test_folding_leaves_the_trained_network_as_it_is(core: keras.Model) -> None:
    before = weights.digest(core)
    vggs.fold(core)
    assert weights.digest(core) == before


def test_the_papers_network_starts_from_its_file(core: keras.Model, tmp_path: Path) -> None:
    core.save(tmp_path / "core.keras")
    model = vgg16_transfer.build(settings("vgg16_transfer"))

    weights.initialize(model, str(tmp_path / "core.keras"), seed=0)

    assert systems.counts(model)["total"] == 14_883_399
    for found, expected in zip(model.get_layer("vgg16").get_weights(), vggs.fold(core).get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
