"""Calibration: how far a network's confidence is from its accuracy, and the temperature that brings them together."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

_LEAST = 1e-7  # a probability of 0 has no logarithm


class Certainty(NamedTuple):
    """The share of answers that are not uncertain, and their accuracy; 0 where there are none."""

    coverage: float
    accuracy_certain: float


def reliability(labels: NDArray[np.int64], probabilities: NDArray[np.float32], bins: int) -> pd.DataFrame:
    """Compute the reliability curve: `confidence`, `accuracy` and `n` in equal bins of the highest probability.

    Empty bins are left out.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    groups = pd.DataFrame({"confidence": confidence, "accuracy": correct, "n": 1}).groupby(bin_of)
    return groups.agg({"confidence": "mean", "accuracy": "mean", "n": "sum"}).reset_index(drop=True)


def calibration_error(curve: pd.DataFrame) -> float:
    """Compute the expected calibration error: gaps between confidence and accuracy, weighted by the images in a bin."""
    return float(((curve["confidence"] - curve["accuracy"]).abs() * curve["n"]).sum() / curve["n"].sum())


def fit_temperature(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """Fit the temperature that divides the logits, to the least cross-entropy (Guo et al., 2017).

    Args:
        labels: codes 0-6, int64 (N,), of images that the network was not trained on.
        probabilities: (N, 7), rows sum to 1.

    Returns:
        A temperature from 0.05 to 20, to four digits; below 1 the network is more often right than it says.
    """
    logits, rows = _logits(probabilities), np.arange(len(labels))
    loss = lambda log: -log_softmax(logits / np.exp(log), axis=1)[rows, labels].mean()  # noqa: E731
    bound = np.log(20)
    return round(float(np.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded").x)), 4)


def calibrate(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Return the probabilities (N, 7) of logits divided by a temperature; their order stays."""
    return np.asarray(softmax(_logits(probabilities) / temperature, axis=1), np.float32)


def certainty(labels: NDArray[np.int64], probabilities: NDArray[np.float32], uncertain_below: float) -> Certainty:
    """Return coverage and accuracy of the answers whose highest probability reaches a threshold."""
    certain = probabilities.max(axis=1) >= uncertain_below
    correct = (probabilities.argmax(axis=1) == labels)[certain]
    return Certainty(float(certain.mean()), float(correct.mean()) if len(correct) else 0.0)


def _logits(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return logits up to a constant of each row."""
    return np.log(np.maximum(probabilities, _LEAST, dtype=np.float64))
