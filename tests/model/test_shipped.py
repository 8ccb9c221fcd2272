"""The trained networks that come with the repository."""

import hashlib

import keras
import numpy as np
import pytest
from support import ROOT

from ferops import params
from ferops.model import weights
from ferops.model.networks import systems


@pytest.mark.parametrize(("name", "recipe"), [("lean_cnn", "lean_cnn_wide"), ("vgg16_best", "vgg16_best_h200")])
def test_a_network_in_weights_is_the_one_of_its_card_and_of_its_recipe(name: str, recipe: str) -> None:
    card = (ROOT / f"weights/{name}.md").read_text(encoding="utf-8")
    shipped = keras.models.load_model(ROOT / f"weights/{name}.keras", compile=False, safe_mode=True)
    assert weights.digest(shipped) in card
    assert f"{systems.counts(shipped)['total']:,} parameters" in card
    built = systems.build(params.Model(**params.load_recipe(recipe, ROOT / "recipes")["model"]))
    assert [variable.shape for variable in built.weights] == [variable.shape for variable in shipped.weights]
    built.set_weights(shipped.get_weights())
    faces = np.random.default_rng(0).integers(0, 256, (4, 48, 48), dtype=np.uint8)
    np.testing.assert_allclose(np.asarray(shipped(faces)), np.asarray(built(faces)), atol=1e-6)


def test_the_record_beside_the_trained_vgg16_is_of_its_file_and_of_its_script() -> None:
    path = ROOT / "weights/vgg16_best.keras"
    record = weights.record(path)
    assert record
    assert record["weights"] == weights.digest(weights.load_model(path))
    script = ROOT / "recipes/h200" / record["script"]["name"]
    assert hashlib.sha256(script.read_bytes()).hexdigest() == record["script"]["sha256"]
