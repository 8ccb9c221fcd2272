"""Metrics of an evaluation, from labels and probabilities alone."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from ferops.labels import NAMES
from ferops.model.calibration import calibrate, calibration_error, reliability

Labels = NDArray[np.int64]
Probabilities = NDArray[np.float32]


class ConfidenceInterval(NamedTuple):
    """A confidence interval of a fraction."""

    low: float
    high: float


def evaluate(
    labels: Labels,
    probabilities: Probabilities,
    *,
    duplicate_in_train: NDArray[np.bool_],
    tta: Probabilities,
    bins: int,
    temperature: float = 1.0,
) -> dict[str, Any]:
    """Compute every metric of predictions; the order of the images does not matter.

    Args:
        labels: codes 0-6, int64 (N,).
        probabilities: (N, 7), rows sum to 1.
        duplicate_in_train: whether an image has a duplicate in the training set, bool (N,).
        tta: probabilities with test-time augmentation, (N, 7).
        bins: of the calibration error.
        temperature: of `calibration.fit_temperature`; 1 leaves the probabilities as they are.

    Returns:
        The keys of metrics/val.json and metrics/test.json; fractions in [0, 1] but for `loss` (nats) and counts.
        `accuracy` is categorical. `binary_accuracy`, `precision_micro` and `recall_micro` threshold the seven outputs
        at 0.5 each, as Keras' metrics of those names do: the paper's "accuracy" is the first of them. `ece_calibrated`
        is that of what is served, after the temperature. A class without an image is left out of the macro averages;
        predicting it is an error.
    """
    predicted = probabilities.argmax(axis=1)
    correct = predicted == labels
    one_hot = np.eye(len(NAMES), dtype=bool)[labels]
    positive = probabilities > 0.5
    true_positives = int((positive & one_hot).sum())
    per_class = by_class(labels, predicted)
    macro = per_class[per_class["support"] > 0].drop(columns="support").mean()
    unique = ~duplicate_in_train
    return {
        "accuracy": float(correct.mean()),
        "accuracy_interval": list(wilson(int(correct.sum()), len(correct))),
        "binary_accuracy": float((positive == one_hot).mean()),
        "loss": float(-np.log(np.maximum(probabilities[one_hot].astype(np.float64), 1e-7)).mean()),
        **{f"{name}_macro": float(value) for name, value in macro.items()},
        "precision_micro": true_positives / max(int(positive.sum()), 1),
        "recall_micro": true_positives / len(labels),
        "n": len(labels),
        "ece": calibration_error(reliability(labels, probabilities, bins)),
        "ece_calibrated": calibration_error(reliability(labels, calibrate(probabilities, temperature), bins)),
        "accuracy_deduplicated": float(correct[unique].mean()) if unique.any() else None,
        "n_deduplicated": int(unique.sum()),
        "accuracy_tta": float((tta.argmax(axis=1) == labels).mean()),
        "per_class": per_class.to_dict(orient="index"),
    }


def by_class(labels: Labels, predicted: Labels) -> pd.DataFrame:
    """Compute precision, recall, F1, specificity and support of each expression, one row each in code order.

    Specificity is the recall of all other classes together: the paper gives no formula.
    """
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=range(len(NAMES)), zero_division=0
    )
    table = confusion(labels, predicted)
    false_positives = table.sum(axis=0) - np.diag(table)
    negatives = table.sum() - table.sum(axis=1)
    specificity = 1 - false_positives / np.maximum(negatives, 1)
    columns = {"precision": precision, "recall": recall, "f1": f1, "specificity": specificity, "support": support}
    return pd.DataFrame(columns, index=pd.Index(NAMES, name="class"))


def confusion(labels: Labels, predicted: Labels) -> NDArray[np.int64]:
    """Return the confusion matrix, counts (7, 7): rows are true classes, columns predicted ones, in code order."""
    return np.asarray(confusion_matrix(labels, predicted, labels=range(len(NAMES))), dtype=np.int64)


def wilson(hits: int, n: int) -> ConfidenceInterval:
    """Compute the 95% interval of a fraction `hits / n` (Wilson 1927), which also holds near 0 and 1."""
    interval = binomtest(hits, n).proportion_ci(method="wilson")
    return ConfidenceInterval(float(interval.low), float(interval.high))
