"""`ferops weights shrink` as users type it."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from support import Ferops, refused

from ferops.params import Model

SETTINGS = Model(name="lean_cnn", weights="none", frozen_blocks=0, scaling="unit", noise=0, dropout=0.3)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user works, with a network whose batch norms have seen large numbers."""
    import keras

    from ferops.model.networks import convnets

    (tmp_path / "models").mkdir()
    network = convnets.lean(SETTINGS)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_variance.assign(layer.moving_variance * 1e6)  # more than float16 can say
    network.save(tmp_path / "models/core.keras")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_network_of_half_the_size_names_the_faces_as_before(folder: Path, ferops: Ferops) -> None:
    import keras

    from ferops.model import weights

    done = ferops("weights", "shrink", "models/core.keras", "small.keras")

    source, out = folder / "models/core.keras", folder / "small.keras"
    assert out.stat().st_size < 0.6 * source.stat().st_size
    assert hashlib.sha256(out.read_bytes()).hexdigest() in done.out
    before, after = (keras.models.load_model(path, compile=False, safe_mode=True) for path in (source, out))
    assert weights.digest(before) in done.out
    assert weights.digest(after) in done.out
    faces = np.random.default_rng(0).integers(0, 256, (8, 48, 48), dtype=np.uint8)
    np.testing.assert_allclose(np.asarray(after(faces)), np.asarray(before(faces)), atol=2e-3)
    assert {variable.dtype for variable in after.weights} == {variable.dtype for variable in before.weights}
    assert sorted(path.name for path in folder.iterdir()) == ["models", "small.keras"]


@pytest.mark.parametrize(
    ("model", "out", "says"),
    [
        ("models/core.keras", "small.h5", ".keras"),
        ("models/core.keras", "models/core.keras", "models/core.keras exists"),
        ("junk.keras", "small.keras", "junk.keras is no .keras model"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    folder: Path, ferops: Ferops, model: str, out: str, says: str
) -> None:
    (folder / "junk.keras").write_bytes(b"junk")

    assert says in refused(ferops, "weights", "shrink", model, out)
