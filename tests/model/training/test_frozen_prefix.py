import shutil
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from support import ROOT

from ferops import params
from ferops.model.networks import building_blocks, systems
from ferops.model.training import fitting, frozen_prefix

FACES = np.random.default_rng(0).integers(0, 256, (40, 48, 48), dtype=np.uint8)
LABELS = np.arange(40) % 7
SAME_IMAGES = params.load(ROOT / "params.yaml").train.model_copy(
    update={"epochs": 2, "batch_size": 8, "online_augmentation": False, "brightness": 0.0, "erasing": 0.0, "mixup": 0.0}
)


def small() -> keras.Model:
    """A network as those on VGG16 are, of two blocks, the first frozen; behind them batch norm, noise and dropout."""
    keras.utils.set_random_seed(0)
    x = images = keras.Input((48, 48, 3))
    for block in ("block1", "block2"):
        x = keras.layers.Conv2D(4, 3, activation="relu", name=f"{block}_conv1", trainable=block != "block1")(x)
        x = keras.layers.MaxPooling2D(4, name=f"{block}_pool", trainable=block != "block1")(x)
    faces, scaled = building_blocks.faces_input("caffe")
    x = keras.layers.BatchNormalization()(keras.Model(images, x, name="vgg16")(scaled))
    x = keras.layers.GaussianNoise(0.1)(x)
    x = keras.layers.Dropout(0.3)(keras.layers.Dense(8, activation="relu")(keras.layers.Flatten()(x)))
    return keras.Model(faces, building_blocks.probabilities(x))


def half(prefix: keras.Model, path: Path) -> np.ndarray:
    return frozen_prefix.compute(prefix, FACES, path, lambda _done, _total: None)


def test_training_the_rest_on_features_is_training_the_whole_network(tmp_path: Path) -> None:
    settings = SAME_IMAGES.model_copy(update={"average": 0.9, "clip_norm": 1.0, "learning_rate": 0.01})
    whole, split = small(), small()
    parts = frozen_prefix.split(split, "caffe")
    features = parts.prefix.predict(FACES, verbose=0)
    fitting.fit(whole, (FACES, LABELS), (FACES[:14], LABELS[:14]), settings, tmp_path / "whole")
    fitting.fit(parts.rest, (features, LABELS), (features[:14], LABELS[:14]), settings, tmp_path / "rest")
    for expected, found, before in zip(whole.weights, split.weights, small().get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert np.array_equal(before, found) == found.path.startswith("block1"), found.path


@pytest.mark.parametrize(("name", "blocks"), zip(params.TRANSFERS, (3, 5, 2, 4), strict=True))
def test_a_system_on_vgg16_is_its_prefix_and_the_rest(name: params.SystemName, blocks: int) -> None:
    network = systems.build(params.Model(name=name, frozen_blocks=blocks))
    prefix, rest, block = frozen_prefix.split(network, "caffe")
    assert block == f"block{blocks}"
    assert not prefix.trainable_variables
    assert [id(one) for one in rest.trainable_variables] == [id(one) for one in network.trainable_variables]
    features = prefix.predict_on_batch(FACES[:2])
    np.testing.assert_allclose(rest.predict_on_batch(features), network.predict_on_batch(FACES[:2]), atol=1e-6)


def test_features_are_half_as_precise_and_as_large(tmp_path: Path) -> None:
    prefix = frozen_prefix.split(small(), "caffe").prefix
    found, exact = half(prefix, tmp_path / "features.npy"), prefix.predict(FACES, verbose=0)
    assert found.nbytes == exact.nbytes / 2
    np.testing.assert_allclose(found, exact, rtol=2**-11, atol=2**-24)


def test_of_an_interrupted_computation_nothing_is_left_and_a_finished_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "key/features.npy"
    prefix = frozen_prefix.split(small(), "caffe").prefix
    faces = np.concatenate([FACES, FACES])

    def die(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        frozen_prefix.compute(prefix, faces, path, die)
    assert not list(path.parent.iterdir())
    seen: list[tuple[int, int]] = []
    first = frozen_prefix.compute(prefix, faces, path, lambda *done: seen.append(done))
    assert seen == [(64, 80), (80, 80)]
    np.testing.assert_array_equal(first[:40], first[40:])
    np.testing.assert_array_equal(frozen_prefix.load(path), first)
    assert path.stat().st_size - 128 == frozen_prefix.size(prefix, 80)  # behind NumPy's header


def test_where_the_disk_is_full_the_whole_network_trains_and_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, lines = small(), []
    needed = frozen_prefix.size(frozen_prefix.split(network, "caffe").prefix, 54)

    def prepare(free: int, scratch: Path) -> tuple[keras.Model, tuple[np.ndarray, np.ndarray]]:
        monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=free))
        return frozen_prefix.prepare(
            network, (FACES, FACES[:14]), params.Model(scaling="caffe"), SAME_IMAGES, scratch,
            say=lines.append, on_batch=lambda _done, _total: None,
        )  # fmt: skip

    given, images = prepare(needed - 1, tmp_path / "full")
    assert given is network
    assert images[0] is FACES
    assert "its blocks are computed in every epoch" in lines.pop()
    rest, features = prepare(needed, tmp_path / "enough")
    assert rest is not network
    assert sum(one.nbytes for one in features) == needed
    assert "computed once" in lines.pop()


@pytest.mark.parametrize("left", [0, 60, 128, -1])
def test_a_file_that_a_power_failure_cut_is_not_read(left: int, tmp_path: Path) -> None:
    path = tmp_path / "features.npy"
    first = np.array(half(frozen_prefix.split(small(), "caffe").prefix, path))
    path.write_bytes(path.read_bytes()[:left])
    assert frozen_prefix.load(path) is None
    np.testing.assert_array_equal(half(frozen_prefix.split(small(), "caffe").prefix, path), first)


@pytest.mark.parametrize(
    ("frozen", "changes", "expected"),
    [
        (3, {}, True),
        (0, {}, False),
        (3, {"epochs": 1}, False),
        (3, {"online_augmentation": True}, False),
        (3, {"brightness": 0.1}, False),
        (3, {"erasing": 0.1}, False),
        (3, {"mixup": 0.1}, False),
    ],
)
def test_features_are_computed_where_every_epoch_would_compute_the_same(
    frozen: int, changes: dict[str, object], expected: bool
) -> None:
    settings = SAME_IMAGES.model_copy(update=changes)
    assert frozen_prefix.is_worth_computing(params.Model(frozen_blocks=frozen), settings) is expected
