from pathlib import Path

import cv2
import pytest

from ferops.orchestration.sweeps import parallel_coordinates
from ferops.orchestration.sweeps.experiments import Trial, TrialResult


def trial(accuracy: float | None, **values: object) -> TrialResult:
    scores = None if accuracy is None else {"accuracy": accuracy}
    named = {key.replace("_", ".", 1): value for key, value in values.items()}
    return TrialResult(Trial("fine-1", named, {}), scores)


def test_numbers_stand_by_their_size_and_every_one_of_a_few_is_a_tick() -> None:
    axis = parallel_coordinates.axis("model.dropout", [0.2, 0.3, 0.6])
    assert axis.heights == pytest.approx((0, 0.25, 1))
    assert [text for _, text in axis.ticks] == ["0.2", "0.3", "0.6"]


def test_numbers_that_span_decades_stand_on_a_logarithmic_axis_that_says_so() -> None:
    axis = parallel_coordinates.axis("train.learning_rate", [0.0001, 0.001, 0.01])
    assert axis.heights == pytest.approx((0, 0.5, 1))
    assert axis.title == "train.learning_rate (log)"


def test_many_numbers_get_five_ticks() -> None:
    axis = parallel_coordinates.axis("train.seed", list(range(101)))
    assert [text for _, text in axis.ticks] == ["0", "25", "50", "75", "100"]


def test_words_and_switches_stand_apart_from_each_other() -> None:
    assert parallel_coordinates.axis("train.schedule", ["cosine", "constant"]).heights == (1, 0)
    assert parallel_coordinates.axis("train.online_augmentation", [True, False, True]).heights == (1, 0, 1)


def test_a_value_that_all_trials_share_stands_in_the_middle() -> None:
    assert parallel_coordinates.axis("train.epochs", [3, 3]).heights == (0.5, 0.5)


def test_the_picture_has_the_lines_of_all_trials_but_the_failed(tmp_path: Path) -> None:
    def colored(*results: TrialResult) -> int:
        parallel_coordinates.draw(tmp_path / "sweep.png", results, "fine")
        picture = cv2.imread(str(tmp_path / "sweep.png"))
        assert picture.std() > 5
        return int((picture.max(axis=2).astype(int) - picture.min(axis=2) > 60).sum())  # what is not gray

    two = [trial(0.5, model_dropout=0.2, train_rate=1e-4), trial(0.7, model_dropout=0.4, train_rate=1e-2)]
    failed = trial(None, model_dropout=0.3, train_rate=1e-3)
    assert 0 < colored(two[0]) < colored(*two) == pytest.approx(colored(*two, failed), rel=0.02)
