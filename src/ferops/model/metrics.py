"""Every figure of an evaluation, from labels and probabilities alone."""

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from ferops.labels import NAMES

Labels = NDArray[np.int64]
Probabilities = NDArray[np.float32]


class Interval(NamedTuple):
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
) -> dict[str, Any]:
    """Score predictions; the order of the images changes nothing.

    Args:
        labels: codes 0-6, int64 (N,).
        probabilities: (N, 7), rows sum to 1.
        duplicate_in_train: whether an image repeats one that was trained on, bool (N,).
        tta: probabilities with test-time augmentation, (N, 7).
        bins: of the calibration error.

    Returns:
        The keys of metrics/val.json and metrics/test.json; fractions in [0, 1] but for `loss` (nats) and counts.
        `accuracy` is categorical. `binary_accuracy`, `precision_micro` and `recall_micro` threshold the seven outputs
        at 0.5 each, as Keras' metrics of those names do: the paper's "accuracy" is the first of them.
    """
    predicted = probabilities.argmax(axis=1)
    right = predicted == labels
    one_hot = np.eye(len(NAMES), dtype=bool)[labels]
    fired = probabilities > 0.5
    hits = int((fired & one_hot).sum())
    per_class = by_class(labels, predicted)
    alone = ~duplicate_in_train
    return {
        "accuracy": float(right.mean()),
        "accuracy_interval": list(wilson(int(right.sum()), len(right))),
        "binary_accuracy": float((fired == one_hot).mean()),
        "loss": float(-np.log(np.maximum(probabilities[one_hot].astype(np.float64), 1e-7)).mean()),
        **{f"{name}_macro": float(per_class[name].mean()) for name in ("precision", "recall", "f1", "specificity")},
        "precision_micro": hits / max(int(fired.sum()), 1),
        "recall_micro": hits / len(labels),
        "n": len(labels),
        "ece": calibration_error(reliability(labels, probabilities, bins)),
        "accuracy_deduplicated": float(right[alone].mean()) if alone.any() else None,
        "n_deduplicated": int(alone.sum()),
        "accuracy_tta": float((tta.argmax(axis=1) == labels).mean()),
        "per_class": {
            str(name): {key: int(value) if key == "support" else float(value) for key, value in row.items()}
            for name, row in per_class.to_dict(orient="index").items()
        },
    }


def by_class(labels: Labels, predicted: Labels) -> pd.DataFrame:
    """Precision, recall, F1, specificity and support of each expression, one row each in code order.

    Specificity is recall of all that is not the class: the paper names it and gives no formula.
    """
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=range(len(NAMES)), zero_division=0
    )
    table = confusion(labels, predicted)
    false_alarms = table.sum(axis=0) - np.diag(table)
    others = table.sum() - table.sum(axis=1)
    specificity = 1 - false_alarms / np.maximum(others, 1)
    columns = {"precision": precision, "recall": recall, "f1": f1, "specificity": specificity, "support": support}
    return pd.DataFrame(columns, index=pd.Index(NAMES, name="class"))


def confusion(labels: Labels, predicted: Labels) -> NDArray[np.int64]:
    """Counts (7, 7): rows are true classes, columns predicted ones, both in code order."""
    return np.asarray(confusion_matrix(labels, predicted, labels=range(len(NAMES))), dtype=np.int64)


def reliability(labels: Labels, probabilities: Probabilities, bins: int) -> pd.DataFrame:
    """Confidence against accuracy in equal bins of the highest probability: `confidence`, `accuracy`, `n`.

    Empty bins are left out.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    where = np.minimum((confidence * bins).astype(int), bins - 1)
    rows = [
        {
            "confidence": confidence[where == i].mean(),
            "accuracy": right[where == i].mean(),
            "n": int((where == i).sum()),
        }
        for i in range(bins)
        if (where == i).any()
    ]
    return pd.DataFrame(rows, columns=["confidence", "accuracy", "n"])


def calibration_error(curve: pd.DataFrame) -> float:
    """Expected calibration error: gap between confidence and accuracy, weighted by the images in the bin."""
    return float(((curve["confidence"] - curve["accuracy"]).abs() * curve["n"]).sum() / curve["n"].sum())


def wilson(hits: int, n: int, z: float = 1.959964) -> Interval:
    """95% interval of a fraction `hits / n` (Wilson 1927): right at the ends, where the normal one is not."""
    share = hits / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(centre - half, centre + half)
