"""Names, tags and parameters of a run, and its headline figures: plain values, without MLflow."""

import contextlib
import getpass
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ferops.tracking.lineage.identity import Commit
from ferops.tracking.tags import EXPERIMENTS, PARENT

SECTIONS: Final = ("sample", "data", "preprocess", "validate", "augment", "model", "train")
"""Sections of params.yaml up to `train`: a run's params."""

LATER: Final = ("evaluate", "promotion")
"""Sections that come after training: a JSON artifact of the run. Other sections belong to no run."""

HEADLINE: Final = ("accuracy", "binary_accuracy", "f1_macro")
"""Keys of metrics/*.json that are shown first."""

DIFF: Final = "lineage/uncommitted.diff"
"""Artifact of a run: uncommitted changes of tracked files when its training began."""

MAX_DIFF: Final = 1_000_000
"""Bytes; a larger difference is data, not code, and is not kept."""

SWEEP_RUN: Final = "FEROPS_SWEEP_RUN"
"""Environment variable of the stages of a trial: id of the sweep's run."""

_PAPERS_SYSTEM: Final = "vgg16_transfer"

_DATASETS: Final = {
    "sample": "the synthetic sample (faces drawn by code, not FER2013)",
    "fer2013": "FER2013",
    "other": "a data set of your own",
}


def run_params(flat: Mapping[str, Any]) -> dict[str, str]:
    """Select the flattened parameters that belong to a run, as strings."""
    return {key: str(value) for key, value in flat.items() if key.partition(".")[0] in SECTIONS}


def run_name(flat: Mapping[str, Any], started: float) -> str:
    """Return a name for a run: the DVC experiment's, else data, start (UTC), learning rate and base weights.

    MLflow's table shows about the first eighteen characters.

    Args:
        flat: flattened parameters.
        started: Unix time in seconds.
    """
    if named := experiment():
        return named
    weights = str(flat.get("model.weights", "none"))
    base = "scratch" if weights == "none" else f"{Path(weights).name.partition('.')[0]}-f{flat['model.frozen_blocks']}"
    if flat["model.name"] != _PAPERS_SYSTEM:
        base = f"{flat['model.name']} {base}"
    when = datetime.fromtimestamp(started, UTC)
    return f"{flat['data.dataset']} {when:%m-%d %H:%M} lr{flat['train.learning_rate']:g} {base}"


def run_tags(commit: Commit | None, requirements: str | None) -> dict[str, str]:
    """Return tags for user, commit, environment, DVC experiment and sweep; MLflow's own names where it has some."""
    tags = {"mlflow.source.name": "dvc repro", "mlflow.source.type": "LOCAL"}
    with contextlib.suppress(OSError, KeyError):  # the user of a container may have no name
        tags["mlflow.user"] = getpass.getuser()
    if commit is not None:
        tags |= {"mlflow.source.git.commit": commit.sha, "ferops.git.dirty": str(commit.dirty).lower()}
        if commit.dirty:
            kept = DIFF if len(commit.diff) <= MAX_DIFF else f"not kept: {len(commit.diff) / 1e6:.0f} MB"
            tags["ferops.git.diff"] = kept
    if requirements is not None:
        tags["ferops.requirements"] = requirements
    if name := experiment():
        tags[EXPERIMENTS] = name
    if parent := sweep_run():
        tags[PARENT] = parent
    return tags


def experiment() -> str | None:
    """Return the name of the DVC experiment that this process runs in."""
    return os.environ.get("DVC_EXP_NAME") or None


def sweep_run() -> str | None:
    """Return the id of the sweep's run where this process runs in a trial."""
    return os.environ.get(SWEEP_RUN) or None


def dataset_description(dataset: str) -> str:
    """Describe a data set for people; the synthetic sample is called so wherever a number from it is shown."""
    return _DATASETS.get(dataset, dataset)


def headline(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the headline figures: `val/accuracy`, ..., and `test/...` where the test split was scored."""
    return {f"{split}/{key}": float(scores[split][key]) for split in scores for key in HEADLINE if key in scores[split]}
