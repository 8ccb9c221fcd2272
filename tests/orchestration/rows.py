"""Rows of a table as they may have come out."""

from ferops.orchestration.sweeps.comparison_report import ComparisonRow
from ferops.orchestration.sweeps.comparison_tables import Row
from ferops.orchestration.sweeps.experiments import TrialResult

TRAINING = {
    "parameters": {"total": 1_234_567}, "seconds": 95.4, "milliseconds_an_image": 7.25, "ended": 1_700_000_000,
    "hardware": "a processor, 2 CPU cores",
}  # fmt: skip


def measured(title: str, accuracy: float, **training: object) -> ComparisonRow:
    """Accuracy of 350 images, of which 87 are happy."""
    scores = {
        "accuracy": accuracy, "accuracy_interval": [accuracy - 0.05, accuracy + 0.05], "binary_accuracy": 0.9,
        "accuracy_deduplicated": accuracy - 0.01, "n": 350,
        "per_class": {"angry": {"support": 50}, "happy": {"support": 87}},
    }  # fmt: skip
    return ComparisonRow(Row(title, title, {}), TrialResult(scores, run_id="run"), {**TRAINING, **training})


def failed(title: str, reason: str) -> ComparisonRow:
    """A row whose trial failed."""
    return ComparisonRow(Row(title, title, {}), TrialResult(None, reason), {})
