import functools
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from model.faces import overfits

from ferops.model.networks import convnets, descriptors, systems
from ferops.params import Model

BUILDERS: dict[str, Callable[[Model], keras.Model]] = {
    "cnn": convnets.cnn,
    "cnn_lbp_orb": convnets.lbp_orb,
    "cnn_realtime": convnets.realtime,
    "alexnet": convnets.alexnet,
    "lean_cnn": convnets.lean,
    "hog_linear": convnets.hog_linear,
}
every_system = pytest.mark.parametrize("name", BUILDERS)


def build(name: str, dropout: float = 0.3) -> keras.Model:
    keras.utils.set_random_seed(0)
    settings = {"name": name, "weights": "none", "frozen_blocks": 0, "scaling": "unit", "noise": 0.0}
    return BUILDERS[name](Model.model_validate(settings | {"dropout": dropout}))


untrained = functools.cache(build)
"""For tests that change no weight."""


def answers(core: keras.Model, faces: np.ndarray) -> np.ndarray:
    return core.predict_on_batch(descriptors.inputs(core, faces))


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 48, 48), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("cnn", 1_470_247),
        ("cnn_lbp_orb", 2_738_567),
        ("cnn_realtime", 390_183),
        ("alexnet", 12_664_807),
        ("lean_cnn", 770_599),
        ("hog_linear", 6_307),
    ],
)
def test_every_system_has_the_parameters_that_its_table_counts(name: str, total: int) -> None:
    assert systems.counts(untrained(name))["total"] == total


def test_width_multiplies_the_channels_of_every_layer() -> None:
    settings = {"name": "lean_cnn", "weights": "none", "frozen_blocks": 0, "scaling": "unit", "noise": 0.0}
    widths = [1.0, 1.5]
    one, wide = (systems.build(Model.model_validate(settings | {"width": width})) for width in widths)
    channels = [[layer.filters for layer in each.layers if hasattr(layer, "filters")] for each in (one, wide)]
    assert channels[1] == [1.5 * filters for filters in channels[0]]


@every_system
def test_outputs_are_seven_probabilities_in_float32(name: str, faces: np.ndarray) -> None:
    probabilities = answers(untrained(name), faces)
    assert probabilities.shape == (6, 7)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@every_system
def test_a_system_bears_its_name(name: str) -> None:
    assert untrained(name).name == name


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@every_system
def test_outputs_are_float32_whatever_the_network_computes_in(name: str, policy: str, faces: np.ndarray) -> None:
    try:
        keras.config.set_dtype_policy(policy)
        assert answers(build(name), faces).dtype == np.float32
    finally:
        keras.config.set_dtype_policy("float32")


@every_system
def test_a_saved_system_answers_the_same_when_loaded(name: str, faces: np.ndarray, tmp_path: Path) -> None:
    core = untrained(name)
    core.save(tmp_path / "core.keras")
    loaded = keras.models.load_model(tmp_path / "core.keras", safe_mode=True)
    np.testing.assert_array_equal(answers(loaded, faces), answers(core, faces))


def test_local_binary_patterns_are_those_of_a_plain_loop(faces: np.ndarray) -> None:
    around = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
    expected = np.zeros((2, 48, 48, 1))
    for n, face in enumerate(faces[:2]):
        padded = np.pad(face, 1, mode="edge")
        for y, x in np.ndindex(48, 48):
            lit = [padded[y + 1 + down, x + 1 + right] >= face[y, x] for down, right in around]
            expected[n, y, x, 0] = sum(2**place for place, bit in enumerate(lit) if bit) / 255
    np.testing.assert_allclose(np.asarray(convnets.local_binary_patterns(faces[:2])), expected, atol=1e-6)


def test_local_binary_patterns_do_not_see_how_bright_a_face_is(faces: np.ndarray) -> None:
    dim = faces // 2
    np.testing.assert_array_equal(
        np.asarray(convnets.local_binary_patterns(dim)), np.asarray(convnets.local_binary_patterns(dim + 100))
    )


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("cnn", 1e-3),
        ("cnn_lbp_orb", 1e-3),
        ("cnn_realtime", 1e-3),
        pytest.param("alexnet", 3e-4, marks=pytest.mark.services),
        ("lean_cnn", 1e-3),
        ("hog_linear", 1e-1),
    ],
)
def test_every_system_can_learn_14_faces_by_heart(name: str, rate: float) -> None:
    assert overfits(build(name, dropout=0.0), rate, epochs=80) >= 0.95
