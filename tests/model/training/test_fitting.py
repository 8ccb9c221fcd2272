from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from support import ROOT

from ferops import params
from ferops.model import weights
from ferops.model.networks import systems
from ferops.model.training import fitting
from ferops.model.training.batches import Transform

FACES = np.random.default_rng(0).integers(0, 256, (40, 48, 48), dtype=np.uint8)
LABELS = np.arange(40) % 7
HELD_OUT = (FACES[:14], LABELS[:14])


def small() -> keras.Model:
    """A network with everything that a resume must bring back: weights, moments, batch norm, noise, dropout."""
    keras.utils.set_random_seed(0)
    faces = keras.Input((48, 48), dtype="uint8", name="faces")
    x = keras.layers.Flatten()(keras.ops.cast(faces, "float32") / 255.0)
    x = keras.layers.GaussianNoise(0.1)(keras.layers.BatchNormalization()(keras.layers.Dense(16)(x)))
    x = keras.layers.Dropout(0.3)(x)
    return keras.Model(faces, keras.layers.Dense(7, activation="softmax")(x))


def settings(**changes: object) -> params.Train:
    return params.load(ROOT / "params.yaml").train.model_copy(
        update={"epochs": 4, "batch_size": 8, "learning_rate": 0.01, "patience": 10, **changes}
    )


FLIP = Transform(
    lambda n, _settings, rng: {"flipped": rng.random(n) >= 0.5},
    lambda faces, draws: np.where(draws["flipped"][:, None, None], faces[:, :, ::-1], faces),
)


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def run(scratch: Path, stop_in: tuple[int, int] | None = None, **changes: object) -> tuple[str, fitting.Progress]:
    def on_batch(epoch: int, batch: int, _: int) -> None:
        if (epoch, batch) == stop_in:
            raise Killed

    model = small()
    progress = fitting.fit(
        model,
        (FACES, LABELS),
        HELD_OUT,
        settings(**changes),
        scratch,
        transform=FLIP,
        on_batch=on_batch,
    )
    return weights.digest(model), progress


def curve(progress: fitting.Progress) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "time"} for row in progress.history]


CHANGES = {
    "plain": {},
    "full": {
        "optimizer": "sgd", "warmup_epochs": 1, "weight_decay": 5e-4, "clip_norm": 1.0, "average": 0.9, "mixup": 0.5,
        "label_smoothing": 0.1, "clean_epochs": 1,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, fitting.Progress]]:
    """Digest and progress of a training with each of CHANGES."""
    return {name: run(tmp_path_factory.mktemp(name), **changes) for name, changes in CHANGES.items()}


@pytest.mark.parametrize(
    ("moment", "changes"),
    [((1, 2), "plain"), ((2, 1), "plain"), ((3, 5), "plain"), ((4, 3), "plain"), ((2, 1), "full"), ((4, 3), "full")],
)
def test_a_killed_training_goes_on_to_the_result_of_an_undisturbed_one(
    moment: tuple[int, int], changes: str, uninterrupted: dict[str, tuple[str, fitting.Progress]], tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        run(tmp_path, stop_in=moment, **CHANGES[changes])
    assert len(fitting.load_progress(tmp_path).history) == moment[0] - 1
    digest, whole = uninterrupted[changes]
    resumed_digest, resumed = run(tmp_path, **CHANGES[changes])
    assert curve(resumed) == curve(whole)
    assert resumed_digest == digest


def test_a_training_killed_behind_the_switch_of_image_sizes_goes_on_to_the_same_result(tmp_path: Path) -> None:
    chosen = settings(epochs=3, resize_epochs=1)
    system = params.Model(name="lean_cnn", weights="none", frozen_blocks=0, noise=0.0)

    def train(scratch: Path, on_batch: Callable[[int, int, int], None] = lambda *_: None) -> str:
        keras.utils.set_random_seed(0)
        network = systems.build(system)
        fitting.fit(systems.any_size(network), (FACES, LABELS), HELD_OUT, chosen, scratch, on_batch=on_batch)
        return weights.digest(network)

    def kill(epoch: int, batch: int, _batches: int) -> None:
        if (epoch, batch) == (2, 3):
            raise Killed

    with pytest.raises(Killed):
        train(tmp_path / "killed", kill)
    assert train(tmp_path / "killed") == train(tmp_path / "whole")


@pytest.mark.parametrize("name", ["epoch-0001.weights.h5", "progress.json"])
def test_a_damaged_checkpoint_is_named_with_the_way_out(name: str, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(tmp_path, stop_in=(2, 1))
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:100])
    with pytest.raises(fitting.BadCheckpoint, match=f"{tmp_path} has a damaged checkpoint: .*; delete it to train"):
        run(tmp_path)


def test_a_kill_between_weights_and_their_record_costs_one_epoch_and_no_more(
    monkeypatch, uninterrupted: dict[str, tuple[str, fitting.Progress]], tmp_path: Path
) -> None:
    replace = Path.replace

    def die_at_the_record(source: Path, target: Path) -> Path:
        if target.name == "progress.json" and (tmp_path / "killed/epoch-0003.weights.h5").exists():
            raise Killed
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", die_at_the_record)
    with pytest.raises(Killed):
        run(tmp_path / "killed")
    monkeypatch.undo()
    assert len(fitting.load_progress(tmp_path / "killed").history) == 2
    assert run(tmp_path / "killed")[0] == uninterrupted["plain"][0]


def test_the_model_ends_with_the_weights_of_the_best_epoch(tmp_path: Path) -> None:
    digest, progress = run(tmp_path / "long", epochs=6, schedule="constant")
    best = progress.best_epoch
    assert progress.history[best - 1]["val/accuracy"] == max(row["val/accuracy"] for row in progress.history)
    short, _ = run(tmp_path / "short", epochs=best, schedule="constant")
    assert digest == short


def test_patience_ends_a_training_that_no_longer_improves(tmp_path: Path) -> None:
    _, progress = run(tmp_path, epochs=50, patience=2, learning_rate=1e-9)
    assert len(progress.history) == progress.best_epoch + 2


def test_minutes_end_a_training_before_an_epoch_that_would_end_late(tmp_path: Path) -> None:
    _, progress = run(tmp_path / "a", minutes=1e-6)
    assert len(progress.history) == 1
    _, progress = run(tmp_path / "b", epochs=2, minutes=100.0)
    assert len(progress.history) == 2


def test_a_training_that_diverges_is_an_error_and_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    run(tmp_path, epochs=2, schedule="constant")
    with pytest.raises(fitting.Diverged, match=r"epoch 3 .* train\.learning_rate"):
        run(tmp_path, epochs=3, schedule="constant", learning_rate=1e30)
    assert len(fitting.load_progress(tmp_path).history) == 2


def test_with_an_average_the_model_ends_with_it_and_not_with_the_last_steps(
    uninterrupted: dict[str, tuple[str, fitting.Progress]], tmp_path: Path
) -> None:
    plain, last = uninterrupted["plain"]
    averaged, progress = run(tmp_path, average=0.99)
    assert plain != averaged
    # the steps are the same, only what is validated differs
    assert [row["train/loss"] for row in progress.history] == [row["train/loss"] for row in last.history]
    assert [row["val/loss"] for row in progress.history] != [row["val/loss"] for row in last.history]


def test_an_average_of_an_epoch_with_few_batches_is_not_what_the_training_began_with(tmp_path: Path) -> None:
    averaged, _ = run(tmp_path, epochs=1, average=0.999)
    assert averaged != weights.digest(small())


def test_soft_targets_leave_the_metrics_those_of_the_class_that_an_image_has(tmp_path: Path) -> None:
    hard, soft = (
        run(tmp_path / str(share), epochs=1, learning_rate=1e-9, label_smoothing=share)[1] for share in (0.0, 0.3)
    )
    for name in ("accuracy", "binary_accuracy", "precision", "recall"):
        assert hard.history[0][f"train/{name}"] == pytest.approx(soft.history[0][f"train/{name}"], abs=1e-6)
    assert hard.history[0]["val/loss"] == pytest.approx(soft.history[0]["val/loss"], abs=1e-4)
    assert hard.history[0]["train/loss"] != pytest.approx(soft.history[0]["train/loss"], abs=1e-3)


def test_biases_and_norms_do_not_decay_and_kernels_decay_as_by_an_l2_term() -> None:
    chosen = settings(optimizer="sgd", learning_rate=0.01, schedule="constant", weight_decay=0.1)
    layer = keras.layers.Dense(3)
    layer.build((None, 3))
    before = [np.ones(variable.shape, np.float32) for variable in layer.weights]
    layer.set_weights(before)
    steps = fitting.optimizer(chosen, steps=10)
    for _ in range(10):
        steps.apply([keras.ops.zeros_like(variable) for variable in layer.weights], layer.weights)
    kernel, bias = layer.get_weights()
    np.testing.assert_array_equal(bias, 1)
    # a constant gradient under momentum moves by rate / (1 - momentum) a step
    np.testing.assert_allclose(kernel, (1 - 0.01 * 0.1 / (1 - fitting.MOMENTUM)) ** 10, rtol=1e-5)


def test_the_rate_rises_then_falls_to_zero() -> None:
    chosen = settings(epochs=10, warmup_epochs=2, learning_rate=0.5, schedule="cosine")
    rate = fitting.optimizer(chosen, 5)._learning_rate
    rates = [float(rate(step)) for step in (0, 5, 10, 30, 50)]
    np.testing.assert_allclose(rates, [0, 0.25, 0.5, 0.25, 0], atol=1e-6)


def test_each_epoch_has_six_metrics_of_both_splits(
    uninterrupted: dict[str, tuple[str, fitting.Progress]],
) -> None:
    _, progress = uninterrupted["plain"]
    metrics = {"loss", "accuracy", "binary_accuracy", "precision", "recall", "f1"}
    expected = {f"{split}/{name}" for split in ("train", "val") for name in metrics}
    assert set(progress.history[0]) == expected | {"epoch", "time"}


def test_the_scratch_key_changes_with_any_part() -> None:
    key = fitting.scratch_key({"a": 1, "b": 2}, [FACES, LABELS], "sha256")
    assert key == fitting.scratch_key({"b": 2, "a": 1}, [FACES, LABELS], "sha256")
    others = (({"a": 1}, [FACES, LABELS], "sha256"), ({"a": 1, "b": 2}, [FACES + 1, LABELS], "sha256"))
    assert key not in {fitting.scratch_key(*other) for other in (*others, ({"a": 1, "b": 2}, [FACES, LABELS], None))}
