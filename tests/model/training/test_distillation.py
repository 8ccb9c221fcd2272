from pathlib import Path

import keras
import numpy as np
import pytest
from support import ROOT

from ferops import params
from ferops.labels import NAMES
from ferops.model import calibration, weights
from ferops.model.networks import systems
from ferops.model.serving.graph import raw_model
from ferops.model.training import batches, distillation, fitting
from ferops.model.training.distillation import BadTeacher, Teacher

RNG = np.random.default_rng(0)
CLASSES = RNG.integers(0, 7, 84)
FACES = (RNG.integers(0, 30, (84, 48, 48)) + 35 * CLASSES[:, None, None]).astype(np.uint8)
"""Faces whose class is their brightness."""
WRONG = RNG.permutation(CLASSES)
SETTINGS = params.load(ROOT / "params.yaml").train.model_copy(
    update={"epochs": 4, "batch_size": 12, "learning_rate": 0.03, "schedule": "constant", "teacher_share": 1.0}
)


def knows(faces: np.ndarray) -> np.ndarray:
    """A teacher that knows the class of every face, and leaves a tenth to the others."""
    return batches.smooth(batches.one_hot((faces.mean(axis=(1, 2)) // 35).astype(int)), 0.1)


def constant(answer: np.ndarray) -> keras.Model:
    """A network that gives the same probabilities (7,) for every face."""
    faces = keras.Input((48, 48), dtype="uint8", name="faces")
    x = keras.layers.Flatten()(keras.ops.cast(faces, "float32"))
    network = keras.Model(faces, keras.layers.Dense(7, "softmax")(x))
    network.set_weights([np.zeros((48 * 48, 7)), np.log(answer)])
    return network


def targets(**changes: object) -> np.ndarray:
    """Targets of the first batch of an epoch."""
    settings = SETTINGS.model_copy(update=changes)
    some = batches.Batches(constant(np.full(7, 1 / 7)), (FACES, WRONG), settings, 1, batches.Transform(), knows)
    return some[0][1]


def student() -> keras.Model:
    keras.utils.set_random_seed(0)
    faces = keras.Input((48, 48), dtype="uint8", name="faces")
    x = keras.layers.AveragePooling2D(16)(keras.ops.expand_dims(keras.ops.cast(faces, "float32"), -1) / 255.0)
    x = keras.layers.Dense(64, activation="relu")(keras.layers.Flatten()(x))
    return keras.Model(faces, keras.layers.Dense(7, activation="softmax")(keras.layers.Dropout(0.1)(x)))


def accuracy(network: keras.Model) -> float:
    return float((network.predict_on_batch(FACES).argmax(axis=1) == CLASSES).mean())


def test_a_student_with_wrong_labels_learns_what_its_teacher_knows(tmp_path: Path) -> None:
    alone, taught = student(), student()
    long = SETTINGS.model_copy(update={"epochs": 60, "patience": 60})
    fitting.fit(alone, (FACES, WRONG), (FACES, CLASSES), long, tmp_path / "alone")
    fitting.fit(taught, (FACES, WRONG), (FACES, CLASSES), long, tmp_path / "taught", teacher=knows)
    assert accuracy(taught) > 0.9
    assert accuracy(alone) < 0.6


def test_a_training_with_a_teacher_that_is_interrupted_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    class Killed(BaseException):
        """Stands for SIGKILL."""

    def kill(epoch: int, batch: int, _batches: int) -> None:
        if (epoch, batch) == (3, 2):
            raise Killed

    def train(scratch: Path, **more: object) -> str:
        network = student()
        fitting.fit(network, (FACES, WRONG), (FACES, CLASSES), SETTINGS, scratch, teacher=knows, **more)
        return weights.digest(network)

    with pytest.raises(Killed):
        train(tmp_path / "killed", on_batch=kill)
    assert train(tmp_path / "killed") == train(tmp_path / "whole")


def test_the_share_is_between_label_and_teacher() -> None:
    label, half, teacher = (targets(teacher_share=share) for share in (0.0, 0.5, 1.0))
    np.testing.assert_allclose(half, (label + teacher) / 2, rtol=1e-6)
    assert set(label.max(axis=1)) == {1.0}
    assert teacher.max() == pytest.approx(0.9 + 0.1 / 7)


def test_a_teacher_sees_the_faces_as_they_were_changed_and_never_two_in_one() -> None:
    seen = []

    def look(faces: np.ndarray) -> np.ndarray:
        seen.append(faces)
        return knows(faces)

    dark = batches.Transform(apply=lambda faces, _: faces // 2)
    settings = SETTINGS.model_copy(update={"mixup": 1.0})
    given = batches.Batches(student(), (FACES, WRONG), settings, 1, dark, look)
    shown, _ = given[0]
    (faces,) = seen
    np.testing.assert_array_equal(faces, FACES[given.drawn(0)[0]["row"]] // 2)
    assert not np.array_equal(shown, faces), "what the student sees is mixed"


def test_answers_are_mixed_as_the_faces_are() -> None:
    settings = SETTINGS.model_copy(update={"mixup": 1.0})
    given = batches.Batches(student(), (FACES, CLASSES), settings, 1, batches.Transform(), knows)
    draws, labels = given.drawn(0)
    # the teacher knows the labels, so its mixed answers are the mixed labels, smoothed
    np.testing.assert_allclose(given[0][1], batches.smooth(labels, 0.1), atol=1e-6)
    assert (draws["share"] < 1).all()


def test_a_temperature_divides_logits() -> None:
    logits = np.log(np.array([[0.7, 0.2, 0.05, 0.02, 0.01, 0.01, 0.01]], np.float32))
    warm = np.exp(logits / 3)
    np.testing.assert_allclose(calibration.calibrate(np.exp(logits), 3.0), warm / warm.sum(), rtol=1e-5)
    np.testing.assert_array_equal(calibration.calibrate(np.exp(logits), 0.001), [[1, 0, 0, 0, 0, 0, 0]])


def test_a_teacher_answers_the_same_alone_and_as_it_is_registered(tmp_path: Path) -> None:
    core = systems.build(params.Model(name="lean_cnn", weights="none", frozen_blocks=0, noise=0.0))
    core.save(tmp_path / "core.keras")
    raw_model(core, median_kernel=3, temperature=2.0).save(tmp_path / "model.keras")
    alone, registered = (distillation.load(tmp_path / name, "float32") for name in ("core.keras", "model.keras"))
    assert weights.digest(alone) == weights.digest(registered) == weights.digest(core)
    expected = core.predict_on_batch(FACES[:4])
    np.testing.assert_allclose(Teacher(registered, temperature=1.0)(FACES[:4]), expected, atol=1e-5)


def test_a_file_that_cannot_teach_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadTeacher, match=r"train.teacher: .*none.keras does not exist"):
        distillation.load(tmp_path / "none.keras", "float32")
    (tmp_path / "junk.keras").write_bytes(b"junk")
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(len(NAMES))], name="other").save(tmp_path / "other.keras")
    with pytest.raises(weights.WeightsUnfit, match=r"junk.keras is no .keras model: .*") as error:
        distillation.load(tmp_path / "junk.keras", "float32")
    assert "\n" not in str(error.value)
    short = keras.Sequential([keras.Input((48, 48)), keras.layers.Flatten(), keras.layers.Dense(4)], name="lean_cnn")
    short.save(tmp_path / "short.keras")
    for name, network in (("short", "lean_cnn"), ("other", "other")):
        says = rf"train.teacher: .*{name}.keras: '{network}' does not answer faces of 48 x 48 pixels with seven prob"
        with pytest.raises(weights.WeightsUnfit, match=says):
            distillation.load(tmp_path / f"{name}.keras", "float32")
