"""A repository whose store has versions to promote, created without `publish`.

`publish` loads TensorFlow to register a model, and a promotion never reads the model itself.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support import MODEL, ROOT
from test_promotion import network

from ferops.tracking import store
from ferops.tracking.record import FACTS, TRAINING, WEIGHTS
from ferops.tracking.registry import ledger, versions

GOOD, BETTER, WORSE, POOR, ELSEWHERE, LOST, OLD = range(1, 8)
"""Versions in the store, without aliases."""
PREDICTIONS = {
    GOOD: network(0.70, seed=1),
    BETTER: network(0.80, seed=2),
    WORSE: network(0.60, seed=3),
    POOR: network(0.30, seed=4),
    ELSEWHERE: network(0.80, seed=5).iloc[100:],
    OLD: network(0.80, seed=6).drop(columns="hash"),
}


def make(root: Path) -> None:
    """Create the repository in an empty folder."""
    shutil.copy(ROOT / "params.yaml", root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(root))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        opened = store.connect()
        opened.client.create_registered_model(MODEL)
        for number in range(GOOD, OLD + 1):
            _add(opened, number, root)


def _add(opened: store.Store, number: int, scratch: Path) -> None:
    marks = {TRAINING: f"training {number}", WEIGHTS: f"digest {number}"}
    run = opened.client.create_run(opened.experiment_id, tags=marks)
    if number in PREDICTIONS:
        PREDICTIONS[number].to_parquet(scratch / "predictions.parquet")
        opened.client.log_artifact(run.info.run_id, str(scratch / "predictions.parquet"), "evaluation")
    if number == BETTER:
        (scratch / "confusion_normalised.png").write_bytes(b"\x89PNG ")
        opened.client.log_artifact(run.info.run_id, str(scratch / "confusion_normalised.png"), "figures/evaluate")
    figures = {"val/accuracy": 0.7, "test/accuracy": 0.6543, "test/f1_macro": 0.5} if number != BETTER else {}
    opened.client.create_model_version(
        MODEL, run.info.artifact_uri, run.info.run_id, tags={**marks, FACTS: json.dumps({"metrics": figures})}
    )


class Clone:
    """A clone with its store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.opened = store.connect()

    def alias(self, **numbers: int) -> None:
        for alias, number in numbers.items():
            self.opened.client.set_registered_model_alias(MODEL, alias, str(number))

    def aliases(self) -> dict[str, int]:
        return versions.aliases(self.opened, MODEL)

    def events(self) -> list[dict[str, Any]]:
        """Return the events of reports/registry.jsonl; each must be a tag of its version too."""
        events = [dict(line) for line in ledger.lines(self.root / ledger.REGISTRY)]
        assert self.tagged() == events
        return events

    def tagged(self) -> list[dict[str, Any]]:
        """Return the events in the tags of the versions."""
        events = [
            json.loads(value)
            for number in range(GOOD, OLD + 1)
            for key, value in self.opened.client.get_model_version(MODEL, str(number)).tags.items()
            if key.startswith("x-ferops.event.")
        ]
        return sorted(events, key=lambda event: event["time"])
