"""Rows of a table that compares networks, by their titles."""

from typing import Any

from ferops.orchestration.sweeps.experiments import Trial, TrialResult

TRAINING = {
    "parameters": {"total": 1_234_567}, "seconds": 95.4, "milliseconds_an_image": 7.25, "ended": 1_700_000_000,
    "hardware": "a processor, 2 CPU cores",
}  # fmt: skip


def measured(title: str, accuracy: float, training: dict[str, Any] | None = None) -> dict[str, TrialResult]:
    """Accuracy of 350 images, of which 87 are happy."""
    scores = {
        "accuracy": accuracy, "accuracy_interval": [accuracy - 0.05, accuracy + 0.05], "binary_accuracy": 0.9,
        "accuracy_deduplicated": accuracy - 0.01, "n": 350,
        "per_class": {"angry": {"support": 50}, "happy": {"support": 87}},
    }  # fmt: skip
    return {title: TrialResult(Trial(title, {}, {}), scores, "", "run", TRAINING if training is None else training)}


def failed(title: str, reason: str) -> dict[str, TrialResult]:
    """A row whose trial failed."""
    return {title: TrialResult(Trial(title, {}, {}), None, reason)}
