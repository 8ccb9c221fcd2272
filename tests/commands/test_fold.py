"""`ferops weights fold` as users type it."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from support import Ferops, refused

from ferops.params import Model


def settings(name: str) -> Model:
    return Model(name=name, weights="none", frozen_blocks=0, scaling="caffe", noise=0, dropout=0.5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vgg16_best as `train` writes it."""
    from ferops.model.networks import vggs

    path = tmp_path_factory.mktemp("trained") / "core.keras"
    vggs.best(settings("vgg16_best")).save(path)
    return path


@pytest.fixture
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user works, with a trained vgg16_best."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models/core.keras").hardlink_to(trained)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_trained_network_becomes_a_file_that_vgg16_transfer_starts_from(folder: Path, ferops: Ferops) -> None:
    from ferops.model import weights
    from ferops.model.networks import systems, vgg16_transfer

    out = folder / "mine.weights.h5"

    done = ferops("weights", "fold", "models/core.keras", "mine.weights.h5")

    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    assert f"mine.weights.h5, {out.stat().st_size / 1e6:.1f} MB, sha256 {digest}" in done.out
    assert "model.weights: mine.weights.h5" in done.out
    assert (done.code, done.err) == (0, "")
    assert sorted(path.name for path in folder.iterdir()) == ["mine.weights.h5", "models"]
    model = vgg16_transfer.build(settings("vgg16_transfer"))
    assert weights.initialize(model, str(out), seed=0) == digest
    assert systems.counts(model)["total"] == 14_883_399
    bias = np.asarray(model.get_layer("vgg16").get_layer("block1_conv1").bias)
    np.testing.assert_array_equal(bias, 0)  # of a network that saw nothing


@pytest.mark.parametrize(
    ("model", "out", "says"),
    [
        ("models/core.keras", "mine.h5", ".weights.h5"),
        ("models/core.keras", "taken.weights.h5", "taken.weights.h5 exists"),
        ("models/core.keras", "nowhere/mine.weights.h5", "no folder nowhere"),
        ("nowhere.keras", "mine.weights.h5", "nowhere.keras does not exist"),
        ("junk.keras", "mine.weights.h5", "junk.keras is no .keras model"),
        ("other.keras", "mine.weights.h5", "only vgg16_best"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    folder: Path, ferops: Ferops, model: str, out: str, says: str
) -> None:
    import keras

    (folder / "taken.weights.h5").write_bytes(b"what a params.yaml names")
    (folder / "junk.keras").write_bytes(b"junk")
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(folder / "other.keras")

    assert says in refused(ferops, "weights", "fold", model, out)


def test_help_has_an_example(ferops: Ferops) -> None:
    assert "Example" in ferops("weights", "fold", "--help").out
