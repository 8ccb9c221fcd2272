import keras
import numpy as np
import pytest

from ferops.labels import NAMES
from ferops.model import calibration, metrics

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 7, 500)
PROBABILITIES = RNG.dirichlet(np.full(7, 0.3), 500).astype(np.float32)
PROBABILITIES[::2] = 0.2 * PROBABILITIES[::2] + 0.8 * np.eye(7, dtype=np.float32)[LABELS[::2]]
DUPLICATES = RNG.random(500) < 0.1


def evaluate(order: np.ndarray | slice = slice(None)) -> dict:
    return metrics.evaluate(
        LABELS[order], PROBABILITIES[order], duplicate_in_train=DUPLICATES[order], tta=PROBABILITIES[order], bins=15
    )


def test_shuffling_the_test_set_changes_no_metric() -> None:
    straight, shuffled = evaluate(), evaluate(RNG.permutation(500))
    per_class, shuffled_per_class = straight.pop("per_class"), shuffled.pop("per_class")
    assert shuffled.pop("accuracy_interval") == straight.pop("accuracy_interval")
    assert shuffled == pytest.approx(straight)
    for name in NAMES:
        assert shuffled_per_class[name] == pytest.approx(per_class[name])


def test_comparing_with_labels_in_another_order_would_be_seen() -> None:
    mistaken = metrics.evaluate(
        RNG.permutation(LABELS), PROBABILITIES, duplicate_in_train=DUPLICATES, tta=PROBABILITIES, bins=15
    )
    assert mistaken["accuracy"] < 0.25 < 0.5 < evaluate()["accuracy"]


@pytest.mark.parametrize(
    ("key", "metric"),
    [
        ("accuracy", keras.metrics.CategoricalAccuracy()),
        ("binary_accuracy", keras.metrics.BinaryAccuracy()),
        ("precision_micro", keras.metrics.Precision()),
        ("recall_micro", keras.metrics.Recall()),
        ("loss", keras.metrics.CategoricalCrossentropy()),
        ("f1_macro", keras.metrics.F1Score(average="macro")),
    ],
)
def test_a_figure_is_the_one_that_keras_gives_under_that_name(key: str, metric: keras.metrics.Metric) -> None:
    metric.update_state(np.eye(7, dtype=np.float32)[LABELS], PROBABILITIES)
    assert evaluate()[key] == pytest.approx(float(metric.result()), abs=1e-5)


def test_always_happy_has_a_binary_accuracy_far_above_its_accuracy() -> None:
    happy = np.tile(np.eye(7, dtype=np.float32)[NAMES.index("happy")], (500, 1))
    figures = metrics.evaluate(LABELS, happy, duplicate_in_train=DUPLICATES, tta=happy, bins=15)
    share = (NAMES.index("happy") == LABELS).mean()
    assert figures["accuracy"] == pytest.approx(share)
    assert figures["binary_accuracy"] == pytest.approx(1 - 2 * (1 - share) / 7)


def test_duplicates_are_left_out_of_the_second_accuracy() -> None:
    figures = evaluate()
    right = PROBABILITIES.argmax(axis=1) == LABELS
    assert figures["n_deduplicated"] == (~DUPLICATES).sum()
    assert figures["accuracy_deduplicated"] == pytest.approx(right[~DUPLICATES].mean())


def test_class_figures_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 1, 6])
    predicted = np.array([0, 0, 1, 1, 6, 6])
    table = metrics.by_class(labels, predicted)
    assert table.loc["angry"].to_list() == pytest.approx([1, 2 / 3, 0.8, 1, 3])
    assert table.loc["disgust"].to_list() == pytest.approx([1 / 2, 1 / 2, 1 / 2, 3 / 4, 2])
    assert table.loc["neutral"].to_list() == pytest.approx([1 / 2, 1, 2 / 3, 4 / 5, 1])
    assert table.loc["fear", "support"] == 0
    assert metrics.confusion(labels, predicted)[1, 6] == 1


def test_a_sure_and_right_model_is_calibrated_and_a_sure_and_wrong_one_is_not() -> None:
    sure = np.eye(7, dtype=np.float32)[LABELS]
    assert calibration.calibration_error(calibration.reliability(LABELS, sure, 15)) == pytest.approx(0)
    assert calibration.calibration_error(calibration.reliability((LABELS + 1) % 7, sure, 15)) == pytest.approx(1)


def test_the_interval_of_fer2013s_test_split_is_about_three_points_wide() -> None:
    low, high = metrics.wilson(2620, 3589)
    assert low < 2620 / 3589 < high
    assert high - low == pytest.approx(0.029, abs=0.001)
    assert metrics.wilson(0, 10).low == pytest.approx(0)
    assert metrics.wilson(10, 10).high == pytest.approx(1)
