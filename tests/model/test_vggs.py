import functools
from pathlib import Path

import keras
import numpy as np
import pytest
from model.faces import fourteen_faces, overfits
from support import ROOT

from ferops.model import weights
from ferops.model.networks import systems, vggs
from ferops.params import Model

BASE = ROOT / "weights/vgg16_best.keras"
SYSTEMS = {
    "vgg16_features_mlp": vggs.features_mlp,
    "vgg_spinal": vggs.spinal,
    "vgg_progressive_spinal": vggs.progressive_spinal,
    "vgg16_best": vggs.best,
}


def build(name: str, frozen_blocks: int = 0, dropout: float = 0.5) -> keras.Model:
    settings = Model(
        name=name,
        weights="none" if name == "vgg16_best" else str(BASE),
        frozen_blocks=frozen_blocks,
        scaling="caffe",
        noise=0,
        dropout=dropout,
    )
    return SYSTEMS[name](settings)


untrained = functools.cache(build)
"""For tests that change no weight."""


def widths(model: keras.Model) -> list[tuple[int, int]]:
    """Inputs and outputs of every dense layer, in order."""
    return [layer.kernel.shape for layer in model.layers if isinstance(layer, keras.layers.Dense)]


@pytest.mark.parametrize(
    ("name", "frozen", "total", "trainable"),
    [
        ("vgg16_features_mlp", 5, 15_243_591, 528_903),
        ("vgg_spinal", 0, 16_041_799, 16_041_799),
        ("vgg_spinal", 5, 16_041_799, 1_327_111),
        ("vgg_progressive_spinal", 0, 15_082_823, 15_082_823),
        ("vgg_progressive_spinal", 5, 15_082_823, 368_135),
        ("vgg16_best", 0, 14_730_951, 14_722_503),
    ],
)
def test_the_counts_are_those_of_the_docstrings(name: str, frozen: int, total: int, trainable: int) -> None:
    assert tuple(systems.counts(untrained(name, frozen)).values()) == (total, trainable, total - trainable)


@pytest.mark.parametrize("name", SYSTEMS)
def test_seven_probabilities_come_of_a_face_before_and_after_it_was_saved(name: str, tmp_path: Path) -> None:
    faces = fourteen_faces()[0][:4]
    model = untrained(name)
    probabilities = np.asarray(model(faces))

    model.save(tmp_path / "core.keras")
    loaded = keras.models.load_model(tmp_path / "core.keras", compile=False, safe_mode=True)

    assert model.name == loaded.name == name
    assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in loaded.inputs] == [
        ("faces", "uint8", (None, 48, 48))
    ]
    assert (probabilities.shape, probabilities.dtype) == ((4, 7), np.float32)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.asarray(loaded(faces)), probabilities, atol=1e-6)


def test_two_layers_as_wide_as_the_features_lie_on_the_extractor() -> None:
    assert widths(untrained("vgg16_features_mlp")) == [(512, 512), (512, 512), (512, 7)]


def test_a_spinal_layer_takes_half_of_the_features_and_the_layer_before() -> None:
    assert widths(untrained("vgg_spinal")) == [(256, 512), *[(256 + 512, 512)] * 3, (4 * 512, 7)]


@pytest.mark.parametrize(
    ("feature", "seen_by"),
    [(0, [True, False, True, False]), (255, [True, False, True, False]), (256, [False, True, False, True])],
)
def test_spinal_layers_look_at_the_halves_in_turn(feature: int, seen_by: list[bool]) -> None:
    model = build("vgg_spinal")
    spinal = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)][:4]
    for layer in spinal[1:]:  # none hears of the one before
        layer.kernel.assign(np.concatenate([np.asarray(layer.kernel)[:256], np.zeros((512, 512))]))
    outputs = keras.Model(model.get_layer("features").output, [layer.output for layer in spinal])

    without, with_it = outputs(np.zeros((1, 512))), outputs(np.eye(512)[[feature]])

    assert [not np.array_equal(a, b) for a, b in zip(without, with_it, strict=True)] == seen_by


def test_a_progressive_spinal_layer_takes_all_features_and_all_layers_before() -> None:
    assert widths(untrained("vgg_progressive_spinal")) == [
        *[(512 + n * 128, 128) for n in range(4)],
        (512 + 4 * 128, 7),
    ]


def test_ours_has_the_convolutions_of_vgg16_each_with_a_norm() -> None:
    model = untrained("vgg16_best")
    vgg16 = keras.applications.VGG16(include_top=False, weights=None, input_shape=(48, 48, 3))
    for theirs in (layer for layer in vgg16.layers if layer.weights):
        ours = model.get_layer(theirs.name)
        assert ours.kernel.shape == theirs.kernel.shape
        assert ours.output.shape == theirs.output.shape
        assert model.get_layer(f"{theirs.name}_norm").input is ours.output


def started(name: str, frozen_blocks: int) -> keras.Model:
    """A transfer that starts from the repository's base; nothing is dropped, so that it learns fast."""
    keras.utils.set_random_seed(0)
    core = build(name, frozen_blocks, dropout=0)
    weights.initialize(core, str(BASE), seed=0)
    return core


def test_a_network_on_frozen_features_learns_fourteen_faces_by_heart() -> None:
    core = started("vgg16_features_mlp", 5)
    faces, labels = fourteen_faces()
    extractor = keras.Model(core.inputs, core.get_layer("features").output)
    head = keras.Model(extractor.output, core.output)
    head.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", jit_compile=False)

    head.fit(extractor.predict_on_batch(faces), labels, batch_size=32, epochs=100, verbose=0)

    np.testing.assert_array_equal(core.predict_on_batch(faces).argmax(axis=1), labels)


@pytest.mark.services
@pytest.mark.parametrize("name", ["vgg_spinal", "vgg_progressive_spinal"])
def test_a_spinal_network_learns_fourteen_faces_by_heart(name: str) -> None:
    assert overfits(started(name, 3), rate=1e-4, epochs=30) > 0.9


def test_ours_learns_fourteen_faces_by_heart_from_random_weights() -> None:
    keras.utils.set_random_seed(0)
    assert overfits(build("vgg16_best", dropout=0), rate=1e-4, epochs=30) > 0.9
