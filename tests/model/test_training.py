from pathlib import Path

import keras
import numpy as np
import pytest
from support import ROOT

from ferops import params
from ferops.model import training, weights

FACES = np.random.default_rng(0).integers(0, 256, (40, 48, 48), dtype=np.uint8)
LABELS = np.arange(40) % 7
HELD_OUT = (FACES[:14], LABELS[:14])


def small() -> keras.Model:
    """A network with everything that a resume must bring back: weights, moments, batch norm, noise, dropout."""
    keras.utils.set_random_seed(0)
    faces = keras.Input((48, 48), dtype="uint8")
    x = keras.layers.Flatten()(keras.ops.cast(faces, "float32") / 255.0)
    x = keras.layers.GaussianNoise(0.1)(keras.layers.BatchNormalization()(keras.layers.Dense(16)(x)))
    x = keras.layers.Dropout(0.3)(x)
    return keras.Model(faces, keras.layers.Dense(7, activation="softmax")(x))


def settings(**changes: object) -> params.Train:
    return params.load(ROOT / "params.yaml").train.model_copy(
        update={"epochs": 4, "batch_size": 8, "learning_rate": 0.01, "patience": 10, **changes}
    )


def flip(faces: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random(len(faces))[:, None, None] < 0.5, faces, faces[:, :, ::-1])


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def run(scratch: Path, stop_in: tuple[int, int] | None = None, **changes: object) -> tuple[str, training.Progress]:
    def on_batch(epoch: int, batch: int, _: int) -> None:
        if (epoch, batch) == stop_in:
            raise Killed

    model = small()
    progress = training.fit(
        model,
        (FACES, LABELS),
        HELD_OUT,
        settings(**changes),
        scratch,
        transform=flip,
        hooks=training.Hooks(on_batch=on_batch),
    )
    return weights.digest(model), progress


def curve(progress: training.Progress) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "time"} for row in progress.history]


@pytest.mark.parametrize("moment", [(1, 2), (2, 1), (3, 5), (4, 3)])
def test_a_killed_training_goes_on_to_the_result_of_an_undisturbed_one(moment: tuple[int, int], tmp_path: Path) -> None:
    digest, whole = run(tmp_path / "whole")
    with pytest.raises(Killed):
        run(tmp_path / "killed", stop_in=moment)
    assert len(training.history(tmp_path / "killed")) == moment[0] - 1
    resumed_digest, resumed = run(tmp_path / "killed")
    assert curve(resumed) == curve(whole)
    assert resumed_digest == digest


def test_a_kill_between_weights_and_their_record_costs_one_epoch_and_no_more(monkeypatch, tmp_path: Path) -> None:
    digest, _ = run(tmp_path / "whole")
    replace = Path.replace

    def die_at_the_record(source: Path, target: Path) -> Path:
        if target.name == "progress.json" and (tmp_path / "killed/epoch-0003.weights.h5").exists():
            raise Killed
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", die_at_the_record)
    with pytest.raises(Killed):
        run(tmp_path / "killed")
    monkeypatch.undo()
    assert len(training.history(tmp_path / "killed")) == 2
    assert run(tmp_path / "killed")[0] == digest


def test_the_model_ends_with_the_weights_of_the_best_epoch(tmp_path: Path) -> None:
    digest, progress = run(tmp_path / "long", epochs=6, schedule="constant")
    best = progress.best_epoch
    assert progress.history[best - 1]["val/accuracy"] == max(row["val/accuracy"] for row in progress.history)
    short, _ = run(tmp_path / "short", epochs=best, schedule="constant")
    assert digest == short


def test_patience_ends_a_training_that_no_longer_improves(tmp_path: Path) -> None:
    _, progress = run(tmp_path, epochs=50, patience=2, learning_rate=1e-9)
    assert len(progress.history) == progress.best_epoch + 2


def test_each_epoch_has_six_metrics_of_both_splits(tmp_path: Path) -> None:
    _, progress = run(tmp_path, epochs=1)
    metrics = {"loss", "accuracy", "binary_accuracy", "precision", "recall", "f1"}
    expected = {f"{split}/{name}" for split in ("train", "val") for name in metrics}
    assert set(progress.history[0]) == expected | {"epoch", "time"}


def test_an_epoch_sees_every_image_once_in_an_order_of_its_own() -> None:
    order = np.random.default_rng([0, 1]).permutation(40)
    batches = training.Batches(FACES, LABELS, 8, order=order)
    seen = np.concatenate([batches[index][0] for index in range(len(batches))])
    np.testing.assert_array_equal(seen, FACES[order])
    assert not np.array_equal(order, np.random.default_rng([0, 2]).permutation(40))


def test_the_scratch_key_changes_with_any_part() -> None:
    assert training.scratch_key({"a": 1, "b": 2}) == training.scratch_key({"b": 2, "a": 1})
    assert training.scratch_key({"a": 1}) != training.scratch_key({"a": 2})
