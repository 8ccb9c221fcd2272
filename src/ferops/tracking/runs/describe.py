"""What people read in MLflow: names, tags, notes, and which parameters belong to a run. Plain values, no MLflow."""

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
"""Sections that come after training: a JSON artifact of the run. What is left belongs to no run."""

HEADLINE: Final = ("accuracy", "binary_accuracy", "f1_macro")

DIFF: Final = "lineage/uncommitted.diff"
"""Artifact of a run: how tracked files differed from the commit when its training began."""

MAX_DIFF: Final = 1_000_000
"""Bytes; a larger difference is somebody's data, not code, and is not kept."""

SYSTEM: Final = "vgg16_transfer"
"""The paper's own."""

SWEEP_RUN: Final = "FEROPS_SWEEP_RUN"
"""Environment variable: the run of the sweep that a stage is a trial of."""

_DATASETS: Final = {
    "sample": "the synthetic sample (faces drawn by code, not FER2013)",
    "fer2013": "FER2013",
    "other": "a data set of your own",
}


def run_params(flat: Mapping[str, Any]) -> dict[str, str]:
    """The flattened parameters that belong to a run, as MLflow stores them."""
    return {key: str(value) for key, value in flat.items() if key.partition(".")[0] in SECTIONS}


def run_name(flat: Mapping[str, Any], started: float) -> str:
    """A name to tell runs apart by: the DVC experiment's, else data, start (UTC), rate and base weights.

    MLflow's table shows the first eighteen letters or so.

    Args:
        flat: flattened parameters.
        started: Unix time in seconds.
    """
    if named := experiment():
        return named
    weights = str(flat.get("model.weights", "none"))
    base = "scratch" if weights == "none" else f"{Path(weights).name.partition('.')[0]}-f{flat['model.frozen_blocks']}"
    if (name := system(flat)) != SYSTEM:
        base = f"{name} {base}"
    when = datetime.fromtimestamp(started, UTC)
    return f"{flat['data.dataset']} {when:%m-%d %H:%M} lr{flat['train.learning_rate']:g} {base}"


def system(flat: Mapping[str, Any]) -> str:
    """The network's system; runs from before there were others have the paper's."""
    return str(flat.get("model.name", SYSTEM))


def run_tags(commit: Commit | None, requirements: str | None) -> dict[str, str]:
    """Who ran it, from which commit, in which environment; under MLflow's own names where it has one."""
    tags = {"mlflow.source.name": "dvc repro", "mlflow.source.type": "LOCAL"}
    with contextlib.suppress(OSError, KeyError):  # a container's user may have no name
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
    """Name of the DVC experiment that this process runs in."""
    return os.environ.get("DVC_EXP_NAME") or None


def sweep_run() -> str | None:
    """Run of the sweep that this process is a trial of."""
    return os.environ.get(SWEEP_RUN) or None


def dataset_description(dataset: str) -> str:
    """A dataset's name in words; the sample says what it is wherever a number from it is shown."""
    return _DATASETS.get(dataset, dataset)


def headline(validation: Mapping[str, Any], test: Mapping[str, Any]) -> dict[str, float]:
    """The figures to show first: `val/accuracy`, ..., and `test/...` where the test split was scored."""
    scored = {"val": validation, "test": test}
    return {f"{split}/{key}": float(scored[split][key]) for split in scored for key in HEADLINE if key in scored[split]}
