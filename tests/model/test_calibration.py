"""Calibration: a temperature brings confidence and accuracy together, and moves no answer."""

import numpy as np
import pytest
from scipy.special import softmax

from ferops.model import calibration

RANDOM = np.random.default_rng(3)
LOGITS = RANDOM.normal(0, 2, (20_000, 7))
TRUE = softmax(LOGITS, axis=1)
LABELS = (TRUE.cumsum(axis=1) > RANDOM.random((20_000, 1))).argmax(axis=1)
"""Drawn from the probabilities: these are calibrated."""


def error(probabilities: np.ndarray) -> float:
    return calibration.calibration_error(calibration.reliability(LABELS, probabilities, 15))


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_the_temperature_of_logits_that_were_multiplied_is_that_factor(factor: float) -> None:
    told = softmax(LOGITS * factor, axis=1).astype(np.float32)
    temperature = calibration.fit_temperature(LABELS, told)
    assert temperature == pytest.approx(factor, rel=0.03)
    calibrated = calibration.calibrate(told, temperature)
    assert error(calibrated) < 0.012
    assert error(calibrated) <= error(told) + 0.002
    np.testing.assert_array_equal(calibrated.argmax(axis=1), told.argmax(axis=1))
    np.testing.assert_allclose(calibrated.sum(axis=1), 1, atol=1e-6)


def test_probabilities_of_zero_have_a_temperature_too() -> None:
    sure = np.eye(7, dtype=np.float32)[LABELS[:100]]
    temperature = calibration.fit_temperature(LABELS[:100], sure)
    assert 0.05 <= temperature <= 20
    assert np.isfinite(calibration.calibrate(sure, temperature)).all()


def test_certain_answers_are_counted_and_judged() -> None:
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6], [0.5, 0.5]], np.float32)
    labels = np.array([0, 1, 1, 0])
    assert calibration.certainty(labels, probabilities, 0.6) == (0.75, pytest.approx(2 / 3))
    assert calibration.certainty(labels, probabilities, 0.95) == (0, 0)
