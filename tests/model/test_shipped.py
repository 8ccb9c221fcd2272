"""The trained network that comes with the repository."""

import keras
import numpy as np
from support import ROOT

from ferops import params
from ferops.model import weights
from ferops.model.networks import systems

CARD = (ROOT / "weights/lean_cnn.md").read_text(encoding="utf-8")


def test_the_network_in_weights_is_the_one_of_its_card_and_of_its_recipe() -> None:
    shipped = keras.models.load_model(ROOT / "weights/lean_cnn.keras", compile=False, safe_mode=True)
    assert weights.digest(shipped) in CARD
    assert f"{systems.counts(shipped)['total']:,} parameters" in CARD
    built = systems.build(params.Model(**params.load_recipe("lean_cnn_wide", ROOT / "recipes")["model"]))
    assert [variable.shape for variable in built.weights] == [variable.shape for variable in shipped.weights]
    built.set_weights(shipped.get_weights())
    faces = np.random.default_rng(0).integers(0, 256, (4, 48, 48), dtype=np.uint8)
    np.testing.assert_allclose(np.asarray(shipped(faces)), np.asarray(built(faces)), atol=1e-6)
