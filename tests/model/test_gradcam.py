"""Grad-CAM: the map is where the evidence is, and its gradient is that of TensorFlow."""

from typing import Any, get_args

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from model.faces import fourteen_faces

from ferops.labels import NAMES
from ferops.model import gradcam
from ferops.model.networks import building_blocks, systems
from ferops.params import Model, SystemName

SERVED = [name for name in get_args(SystemName) if name not in ("hog_linear", "cnn_lbp_orb")]


def built(name: str) -> keras.Model:
    """A system with random weights and batch norms that do something."""
    keras.utils.set_random_seed(0)
    core = systems.build(Model(name=name, weights="none", frozen_blocks=0, scaling="caffe", noise=0, dropout=0.5))
    rng = np.random.default_rng(0)
    for norm in (layer for layer in core.layers if isinstance(layer, layers.BatchNormalization)):
        gamma, beta, mean, variance = rng.uniform(0.5, 1.5, (4, norm.gamma.shape[0]))
        norm.set_weights([gamma, beta / 10, mean / 10, variance])
    return core


@pytest.fixture(scope="module")
def stripes() -> keras.Model:
    """A network that calls upright stripes angry and level ones disgusted: whichever there is more of."""
    faces, x = building_blocks.faces_input()
    upright, level = np.array([[1, -1], [1, -1]]), np.array([[1, 1], [-1, -1]])
    convolution = layers.Conv2D(2, 2, padding="same", activation="relu")
    x = layers.GlobalAveragePooling2D()(layers.MaxPooling2D(8)(convolution(x)))
    core = keras.Model(faces, building_blocks.probabilities(x), name="stripes")
    convolution.set_weights([np.stack([upright, level], axis=-1)[:, :, None], np.full(2, -1)])
    core.get_layer("probabilities").set_weights([np.eye(2, len(NAMES)), np.zeros(len(NAMES))])
    return core


@pytest.mark.parametrize("kind", ["softmax", "dilated", "groups", "even", "none"])
def test_a_network_whose_derivative_is_not_implemented_is_named(kind: str) -> None:
    faces, x = building_blocks.faces_input()
    if kind != "none":
        x = layers.Conv2D(4, 3, strides=4, padding="same")(x)
    if kind in ("dilated", "groups", "even"):
        options = {"dilated": {"dilation_rate": 2}, "groups": {"groups": 2}, "even": {"padding": "same"}}
        x = layers.MaxPooling2D(4)(x)
        x = layers.Conv2D(4, 2 if kind == "even" else 1, **options[kind])(x)
    x = layers.Dense(7, activation=None if kind == "softmax" else "softmax")(layers.Flatten()(x))
    core = keras.Model(faces, layers.Softmax()(x) if kind == "softmax" else x, name=kind)
    if kind == "none":
        core = keras.Model(faces, building_blocks.probabilities(layers.Flatten()(keras.ops.cast(faces, "float32"))))
    with pytest.raises(gradcam.NotExplainable):
        gradcam.explained(core)


@pytest.mark.parametrize("turned", range(4))
def test_the_map_is_bright_where_the_evidence_is_and_dark_where_there_is_evidence_of_another(
    stripes: keras.Model, turned: int
) -> None:
    face = np.zeros((48, 48), np.uint8)
    face[:32, 0:32:2] = 255
    face[36::2, 36:] = 255
    face = np.rot90(face, turned)
    probabilities, maps = gradcam.explained(stripes).predict_on_batch(np.ascontiguousarray(face[None]))
    assert NAMES[probabilities[0].argmax()] == ("angry", "disgust")[turned % 2]
    heat = np.rot90(maps[0], -turned)
    assert heat.shape == (12, 12)
    assert heat[1:7, 1:7].min() > 0.9
    assert heat[9:, 9:].max() < 0.1


def test_a_map_lies_where_its_features_come_from() -> None:
    faces, x = building_blocks.faces_input()
    centre = np.zeros((3, 3, 1, 1))
    centre[1, 1] = 1
    for _ in range(3):  # three strides of 2, which are padded on the right alone
        convolution = layers.Conv2D(1, 3, 2, padding="same")
        x = convolution(x)
        convolution.set_weights([centre, np.zeros(1)])
    x = layers.GlobalAveragePooling2D()(x)
    core = keras.Model(faces, building_blocks.probabilities(x), name="strided")
    core.get_layer("probabilities").set_weights([np.eye(1, len(NAMES)), np.zeros(len(NAMES))])
    face = np.zeros((1, 48, 48), np.uint8)
    face[0, 23, 31] = 255  # the pixel that the position (2, 3) takes
    (heat,) = gradcam.explained(core).predict_on_batch(face)[1]
    places = 4 * np.arange(12) + 1.5
    middle = heat.sum(axis=1) @ places / heat.sum(), heat.sum(axis=0) @ places / heat.sum()
    assert middle == pytest.approx((23, 31), abs=0.5)


@pytest.mark.parametrize("name", SERVED)
def test_every_system_on_faces_has_the_maps_of_its_own_gradient(name: str) -> None:
    core, (faces, _) = built(name), fourteen_faces()
    probabilities, maps = gradcam.explained(core).predict_on_batch(faces)
    np.testing.assert_allclose(probabilities, core.predict_on_batch(faces), atol=1e-6)

    steps = gradcam._steps(core, core.inputs[0])
    (last,) = (at for at, step in enumerate(steps) if step.outputs[0] is _last_map(steps))
    features, dense = steps[last].outputs[0], steps[-1]
    assert features.shape[1:3] == (6, 6)
    with tf.GradientTape() as tape:
        found = keras.Model(core.inputs, features)(faces)
        tape.watch(found)
        logits = keras.Model(features, dense.inputs[0])(found) @ dense.layer.kernel
        score = tf.reduce_sum(logits * np.eye(len(NAMES), dtype=np.float32)[probabilities.argmax(axis=1)])
    weights = tape.gradient(score, found).numpy().mean(axis=(1, 2), keepdims=True)
    expected = np.maximum((weights * found.numpy()).sum(axis=-1), 0).reshape(14, 36)
    expected = expected @ gradcam._interpolation(steps[: last + 1])
    expected /= np.maximum(expected.max(axis=1, keepdims=True), 1e-7)
    np.testing.assert_allclose(maps, expected.reshape(14, 12, 12), atol=1e-4)
    assert (maps.max(axis=(1, 2)) == 1).any()


def _last_map(steps: list[gradcam._Step]) -> Any:
    """The last features of at least 6 x 6 positions."""
    outputs = [output for step in steps for output in step.outputs]
    return [x for x in outputs if len(x.shape) == 4 and x.shape[1] >= 6][-1]


@pytest.mark.parametrize("name", ["hog_linear", "cnn_lbp_orb"])
def test_a_system_on_descriptors_says_why_it_has_none(name: str) -> None:
    with pytest.raises(gradcam.NotExplainable, match=f"{name} takes descriptors"):
        gradcam.explained(built(name))


def test_a_layer_without_a_derivative_is_named() -> None:
    faces, x = building_blocks.faces_input()
    x = layers.Flatten()(layers.AveragePooling2D(4, name="mean")(layers.MaxPooling2D(4)(x)))
    core = keras.Model(faces, building_blocks.probabilities(x), name="other")
    with pytest.raises(gradcam.NotExplainable, match="other: Grad-CAM through its layer mean is not implemented"):
        gradcam.explained(core)
