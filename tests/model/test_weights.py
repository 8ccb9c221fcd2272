import time
from pathlib import Path

import keras
import numpy as np
import pytest
from support import ROOT

from ferops import params
from ferops.model import weights
from ferops.model.networks import systems, vgg16_transfer

BASE = ROOT / "weights/vgg16_best.keras"


def build() -> keras.Model:
    return vgg16_transfer.build(params.load(ROOT / "params.yaml").model.model_copy(update={"frozen_blocks": 0}))


def convolutions(model: keras.Model) -> list[np.ndarray]:
    return [np.asarray(array) for array in model.get_layer("vgg16").get_weights()]


@pytest.fixture(scope="module")
def filled() -> keras.Model:
    model = build()
    weights.initialize(model, str(BASE), 0)
    return model


def same(left: keras.Model, right: keras.Model) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(convolutions(left), convolutions(right), strict=True))


@pytest.mark.parametrize("name", ["base.weights.h5", "base.h5", "model.keras", "whole.keras"])
def test_every_format_gives_the_same_convolutions(filled: keras.Model, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "whole.keras":
        filled.save(path)
    elif name == "model.keras":
        filled.get_layer("vgg16").save(path)
    else:
        filled.get_layer("vgg16").save_weights(tmp_path / "vgg16.weights.h5")
        (tmp_path / "vgg16.weights.h5").rename(path)
    model = build()
    assert not same(model, filled)
    digest = weights.initialize(model, str(path), 0)
    assert same(model, filled)
    assert digest is not None
    assert len(digest) == 64


def test_a_file_that_is_not_vgg16_is_refused_by_name(tmp_path: Path) -> None:
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    for name in ("other.weights.h5", "other.keras", "junk.h5"):
        path = tmp_path / name
        path.write_bytes(b"no weights") if name == "junk.h5" else (
            other.save(path) if name.endswith(".keras") else other.save_weights(path)
        )
        with pytest.raises(weights.WeightsUnfit, match=name):
            weights.initialize(build(), str(path), 0)


def test_a_vgg16_best_without_its_layers_is_refused_by_name(tmp_path: Path) -> None:
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)], name="vgg16_best").save(tmp_path / "odd.keras")
    with pytest.raises(weights.WeightsUnfit, match=r"odd.keras holds no VGG16"):
        weights.initialize(build(), str(tmp_path / "odd.keras"), 0)


def lean(**changes: object) -> keras.Model:
    return systems.build(params.Model(name="lean_cnn", weights="none", frozen_blocks=0, noise=0.0, **changes))


def test_a_whole_network_of_the_same_system_is_loaded_with_its_head(filled: keras.Model, tmp_path: Path) -> None:
    for source, model in ((filled, build()), (lean(), lean())):
        source.save(tmp_path / "whole.keras")
        weights.initialize(model, str(tmp_path / "whole.keras"), 0, is_whole=True)
        assert weights.digest(model) == weights.digest(source)


def test_a_network_of_another_system_or_shape_is_refused_by_name(filled: keras.Model, tmp_path: Path) -> None:
    path = tmp_path / "other.keras"
    filled.save(path)
    with pytest.raises(weights.WeightsUnfit, match=r"other.keras is 'vgg16_transfer'; expected a whole lean_cnn"):
        weights.initialize(lean(), str(path), 0)
    filled.get_layer("vgg16").save(path)
    with pytest.raises(weights.WeightsUnfit, match=r"other.keras is 'vgg16'; expected a whole vgg16_transfer"):
        weights.initialize(build(), str(path), 0, is_whole=True)
    faces = keras.Input((48, 48), dtype="uint8", name="faces")
    keras.Model(faces, keras.layers.Dense(7)(keras.layers.Flatten()(faces)), name="lean_cnn").save(path)
    says = r"other.keras is a lean_cnn of other shapes: .* in place of .*; see model.width"
    with pytest.raises(weights.WeightsUnfit, match=says):
        weights.initialize(lean(), str(path), 0)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(weights.WeightsMissing, match="nowhere.h5"):
        weights.initialize(build(), "nowhere.h5", 0)


def test_imagenet_without_network_fails_soon_and_says_where_the_file_goes(monkeypatch, tmp_path: Path) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("socket.socket.connect", refused)
    monkeypatch.setattr("socket.getaddrinfo", refused)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    started = time.monotonic()
    with pytest.raises(weights.WeightsMissing) as error:
        weights.initialize(build(), "imagenet", 0)
    assert time.monotonic() - started < 10
    assert str(tmp_path / "models" / weights.IMAGENET_FILE) in str(error.value)
    assert "\n" not in str(error.value)


def test_another_file_under_imagenets_name_is_refused_and_kept(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    path = tmp_path / "models" / weights.IMAGENET_FILE
    path.parent.mkdir()
    path.write_bytes(b"something of the user's")
    with pytest.raises(weights.WeightsUnfit, match="md5"):
        weights.initialize(build(), "imagenet", 0)
    assert path.read_bytes() == b"something of the user's"


def test_random_weights_follow_from_the_seed() -> None:
    models = [build() for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        assert weights.initialize(model, "none", seed) is None
    assert same(models[0], models[1])
    assert not same(models[0], models[2])


def test_the_digest_names_the_weights_and_not_the_file(filled: keras.Model, tmp_path: Path) -> None:
    before = weights.digest(filled)
    filled.save(tmp_path / "a.keras")
    assert weights.digest(keras.models.load_model(tmp_path / "a.keras")) == before
    changed = build()
    changed.set_weights([*filled.get_weights()[:-1], filled.get_weights()[-1] + 1e-3])
    assert weights.digest(changed) != before
