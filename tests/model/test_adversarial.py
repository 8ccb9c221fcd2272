"""gan_augmented: one graph in which a network and a generator play against each other."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops
from model.faces import overfits
from support import ROOT

from ferops import params
from ferops.model import weights
from ferops.model.networks import adversarial, systems
from ferops.model.training import fitting

FACES = np.random.default_rng(0).integers(0, 256, (12, 48, 48), dtype=np.uint8)
LABELS = np.arange(12) % 7


def settings() -> params.Model:
    return params.Model(**params.load_recipe("gan_augmented", ROOT / "recipes")["model"])


@pytest.fixture
def core() -> keras.Model:
    keras.utils.set_random_seed(0)
    return adversarial.discriminator(settings())


def generator(fitted: keras.Model) -> keras.Model:
    return fitted.get_layer("game").generator


def arrays(model: keras.Model) -> list[np.ndarray]:
    return [np.array(variable) for variable in model.trainable_variables]


def test_the_network_that_is_kept_has_no_parameter_of_the_generator(core: keras.Model) -> None:
    assert tuple(systems.counts(core).values()) == (1_226_951, 1_226_951, 0)
    before = systems.counts(core)
    adversarial.against_generator(core)
    assert systems.counts(core) == before


def test_it_gives_probabilities_and_comes_back_from_its_file(core: keras.Model, tmp_path: Path) -> None:
    probabilities = np.asarray(core(FACES))
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    core.save(tmp_path / "core.keras")
    again = keras.models.load_model(tmp_path / "core.keras", safe_mode=True)
    np.testing.assert_allclose(np.asarray(again(FACES)), probabilities, atol=1e-6)


def test_outside_of_training_the_game_is_the_network_alone(core: keras.Model) -> None:
    fitted = adversarial.against_generator(core)
    np.testing.assert_array_equal(np.asarray(fitted(FACES)), np.asarray(core(FACES)))
    fitted(FACES, training=False)
    assert not fitted.losses
    fitted(FACES, training=True)
    assert len(fitted.losses) == 2


def test_what_a_loss_gains_from_images_their_maker_loses() -> None:
    """Minimise the mean of w * x by one step of SGD, once as it is and once turned round."""
    moved = {}
    for name, gain in (("as it is", None), ("turned", 2.0)):
        images = keras.Input((1, 1, 1))
        made = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")(images)
        turned = made if gain is None else adversarial.reverse_gradient(made, ops.full((1, 1, 1, 1), gain))
        model = keras.Model(images, turned)
        np.testing.assert_allclose(np.asarray(model(np.full((1, 1, 1, 1), 3.0))), 3.0)
        model.compile(keras.optimizers.SGD(0.1), loss=lambda _true, x: ops.mean(x), jit_compile=False)
        model.fit(np.ones((1, 1, 1, 1)), np.zeros((1, 1, 1, 1)), verbose=0)
        moved[name] = float(model.get_weights()[0].item() - 1)
    assert moved["as it is"] == pytest.approx(-0.1)
    assert moved["turned"] == pytest.approx(0.2)


def score(game: keras.Layer) -> float:
    """How real the network takes made images to be, on average, in log-odds."""
    rng = np.random.default_rng(0)
    noise, classes = (
        rng.normal(size=(56, adversarial.NOISE)).astype(np.float32),
        np.eye(7, dtype=np.float32)[np.arange(56) % 7],
    )
    features, _ = game.judge(game.generator([noise, classes], training=True))
    return float(ops.mean(game.source(features)))


@pytest.mark.parametrize("learns", ["generator", "network"])
def test_made_images_pass_for_real_where_the_generator_learns_and_not_where_the_network_does(
    core: keras.Model, learns: str
) -> None:
    fitted = adversarial.against_generator(core)
    game = fitted.get_layer("game")
    game.generator.trainable = learns == "generator"
    for side in (game.judge, game.source):
        side.trainable = learns == "network"
    before = score(game)
    fitted.compile(keras.optimizers.Adam(1e-4), "categorical_crossentropy", jit_compile=False)
    fitted.fit(FACES, np.eye(7)[LABELS], batch_size=12, epochs=8, verbose=0)
    assert (score(game) > before) == (learns == "generator")


def run(scratch: Path, epochs: int, stop_after: int | None = None) -> tuple[str, list[float], list[np.ndarray]]:
    class Stopped(Exception):
        pass

    def on_epoch(row: fitting.EpochMetrics) -> None:
        if row["epoch"] == stop_after:
            raise Stopped

    keras.utils.set_random_seed(0)
    core = adversarial.discriminator(settings())
    fitted = adversarial.against_generator(core)
    chosen = params.load(ROOT / "params.yaml").train.model_copy(
        update={"epochs": epochs, "batch_size": 4, "patience": 99, "schedule": "constant"}
    )
    try:
        progress = fitting.fit(
            fitted, (FACES[:8], LABELS[:8]), (FACES[:8], LABELS[:8]), chosen, scratch, on_epoch=on_epoch
        )
    except Stopped:
        return "", [], []
    return weights.digest(core), [row["train/loss"] for row in progress.history], arrays(generator(fitted))


def test_both_sides_learn_and_a_game_that_was_stopped_goes_on_to_the_same_end(tmp_path: Path) -> None:
    digest, losses, made = run(tmp_path / "whole", 2)
    run(tmp_path / "stopped", 2, stop_after=1)
    resumed, again, remade = run(tmp_path / "stopped", 2)
    assert (resumed, again) == (digest, losses)
    keras.utils.set_random_seed(0)
    core = adversarial.discriminator(settings())
    first = arrays(generator(adversarial.against_generator(core)))
    assert weights.digest(core) != digest
    assert all(not np.array_equal(old, new) for old, new in zip(first, made, strict=True))
    for one, other in zip(made, remade, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.services
def test_it_learns_14_faces_by_heart_while_it_plays() -> None:
    keras.utils.set_random_seed(0)
    core = adversarial.discriminator(settings().model_copy(update={"dropout": 0.0}))
    assert overfits(core, 1e-3, 80, adversarial.against_generator(core)) >= 0.95
