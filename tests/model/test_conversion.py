from pathlib import Path

import keras
import numpy as np
import pytest
from model.faces import fourteen_faces

from ferops.model import conversion, weights
from ferops.model.networks import building_blocks, systems, vgg16_transfer, vggs
from ferops.model.serving import exported, litert
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
    plain = conversion.fold(core)
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
    conversion.fold(core)
    assert weights.digest(core) == before


def test_the_papers_network_starts_from_the_folded_one(core: keras.Model, tmp_path: Path) -> None:
    plain = conversion.fold(core)
    plain.save_weights(tmp_path / "folded.weights.h5")
    model = vgg16_transfer.build(settings("vgg16_transfer"))

    weights.initialize(model, str(tmp_path / "folded.weights.h5"), seed=0)

    assert systems.counts(model)["total"] == 14_883_399
    for found, expected in zip(model.get_layer("vgg16").get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_another_network_is_refused_by_its_name() -> None:
    plain = building_blocks.vgg16(settings("vgg16_transfer"))
    for other in (vgg16_transfer.build(settings("vgg16_transfer")), plain):
        with pytest.raises(conversion.NotFoldable, match=other.name):
            conversion.fold(other)


@pytest.mark.parametrize("is_easy", [True, False])
def test_8_bit_integers_are_written_where_they_cost_no_accuracy(is_easy: bool, tmp_path: Path) -> None:
    """A network that tells apart means above and below 100.35, by a little or by much, among faces of any gray."""
    given = keras.Input((48, 48), dtype="uint8", name="faces")
    mean = keras.layers.GlobalAveragePooling2D()(keras.ops.cast(given[..., None], "float32"))
    dense = keras.layers.Dense(7, activation="softmax")
    core = keras.Model(given, dense(mean))
    dense.set_weights([np.eye(1, 7, 1, dtype=np.float32) * 100, np.array([0, -10_035, *[-9000] * 5], np.float32)])
    labels = np.tile([0, 1], 10)
    brighter = np.where(labels, 0.4, 0.3) * 48 * 48  # pixels of gray 101 among those of 100
    hard = np.array([np.arange(48 * 48).reshape(48, 48) < number for number in brighter], np.uint8) + 100
    faces = np.where(labels, 220, 40).astype(np.uint8)[:, None, None] + np.zeros_like(hard) if is_easy else hard
    training = np.linspace(0, 255, 50).astype(np.uint8)[:, None, None] + np.zeros((1, 48, 48), np.uint8)

    def export(name: str, int8: np.ndarray | None) -> exported.Card:
        return exported.export(
            core, faces, labels, core.predict_on_batch(faces), tmp_path / name, temperature=1.0,
            report={"median_kernel": 1, "dataset": "sample"}, uncertain_below=0.5, int8=int8,
        )  # fmt: skip

    assert export("float.tflite", None).accuracy == 1
    if is_easy:
        assert export("small.tflite", training).accuracy == 1
        answers = litert.Network((tmp_path / "small.tflite").read_bytes()).run(faces)[0]
        assert answers.argmax(axis=1).tolist() == labels.tolist()
    else:
        with pytest.raises(exported.NotExported, match="8-bit integers.*accuracy 1.000 would be 0.500"):
            export("small.tflite", training)
