"""Trials and their results, each trial a DVC experiment on the clone's commit."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from ruamel.yaml import YAML

from ferops import params
from ferops.machine import git
from ferops.orchestration.pipeline import run_folders
from ferops.params import Params

CLOSED: Final = "evaluate.test"
"""False in every trial: the test split is scored for a model already chosen, and trials are there to choose."""


class Trial(NamedTuple):
    """A training to compare with others.

    Fields:
        name: of its DVC experiment.
        values: what tells it from the other trials; dotted keys.
        settings: all parameters to merge into params.yaml, nested.
    """

    name: str
    values: Mapping[str, Any]
    settings: dict[str, Any]


class TrialResult(NamedTuple):
    """The result of a trial.

    Fields:
        trial: the trial.
        scores: metrics/val.json of its experiment; None where the trial failed.
        reason: why it failed.
        run_id: of its MLflow run, where there is one.
        training: models/training.json, where it was read.
    """

    trial: Trial
    scores: Mapping[str, Any] | None
    reason: str = ""
    run_id: str = ""
    training: Mapping[str, Any] = {}

    @property
    def accuracy(self) -> float:
        """On validation; NaN where the trial failed."""
        return float(self.scores["accuracy"]) if self.scores else math.nan


def ranked(results: Iterable[TrialResult]) -> list[TrialResult]:
    """Sort results: the best on validation first, failed trials last."""
    return sorted(results, key=lambda result: -result.accuracy if result.scores else math.inf)


def base(settings: Mapping[str, Any]) -> Params:
    """Return the parameters of the clone's commit with settings merged into them, as every trial starts from them.

    Args:
        settings: nested, of recipe and overrides.

    Raises:
        BadParams: they are not valid.
        RepositoryError: this is no git repository.
    """
    committed = git.query(Path(), "show", f"{run_folders.head()}:params.yaml") or b""
    whole = YAML(typ="safe", pure=True).load(committed.decode()) or {}
    return params.merged(whole, settings, "params.yaml with the changes asked for")


def scores(name: str) -> Mapping[str, Any] | None:
    """Read metrics/val.json of the DVC experiment of this name; None where there is none, so it has not finished."""
    found = git.query(Path(), "show", f"{run_folders.experiment_ref(name)}:metrics/val.json")
    return dict(json.loads(found)) if found else None


def training(name: str) -> Mapping[str, Any]:
    """Read models/training.json of an experiment from DVC's cache or remote; empty where both have lost it."""
    import dvc.api
    from dvc.exceptions import DvcException

    try:
        return dict(json.loads(dvc.api.read("models/training.json", rev=run_folders.experiment_ref(name))))
    except (DvcException, OSError):
        return {}
