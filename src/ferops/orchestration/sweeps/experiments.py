"""The DVC experiments of trials: the parameters that they start from, and the figures that they left."""

import functools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from ruamel.yaml import YAML

from ferops import params
from ferops.machine import git
from ferops.orchestration.pipeline import run_folders
from ferops.params import Params

CLOSED: Final = "evaluate.test"
"""False in every trial: the test split is scored for a model already chosen, and trials are there to choose."""


class TrialResult(NamedTuple):
    """How a trial ended: metrics/val.json of its experiment, or why it failed; its MLflow run where there is one."""

    scores: Mapping[str, Any] | None
    reason: str = ""
    run_id: str = ""

    @property
    def accuracy(self) -> float:
        """On validation; NaN where the trial failed."""
        return float(self.scores["accuracy"]) if self.scores else math.nan

    @property
    def rank(self) -> tuple[bool, float]:
        """Sorts the best on validation first, those that failed last."""
        return (False, -self.accuracy) if self.scores else (True, 0.0)


def base(values: Mapping[str, Any]) -> Params:
    """The parameters that a trial starts from: those of the clone's commit, with values merged into them.

    Args:
        values: nested, of recipe and overrides.

    Raises:
        BadParams: they would not be valid.
        RepositoryError: this is no git repository.
    """
    committed = git.query(Path(), "show", f"{run_folders.head()}:params.yaml") or b""
    whole = YAML(typ="safe", pure=True).load(committed.decode()) or {}
    return params.check(merged(whole, params.flat(values)), "params.yaml with the changes asked for")


def finished(name: str) -> Mapping[str, Any] | None:
    """metrics/val.json of the DVC experiment of this name on the clone's commit; None where there is none."""
    found = git.query(Path(), "show", f"{_ref(name)}:metrics/val.json")
    return dict(json.loads(found)) if found else None


def training(name: str) -> Mapping[str, Any]:
    """models/training.json of a finished experiment, from DVC's cache or remote; empty where both have lost it."""
    import dvc.api
    from dvc.exceptions import DvcException

    try:
        return dict(json.loads(dvc.api.read("models/training.json", rev=_ref(name))))
    except (DvcException, OSError):
        return {}


def merged(whole: dict[str, Any], dotted: Mapping[str, Any]) -> dict[str, Any]:
    """A nested mapping with values set in it by their dotted keys."""
    for key, value in dotted.items():
        *sections, last = key.split(".")
        functools.reduce(lambda section, name: section[name], sections, whole)[last] = value
    return whole


def _ref(name: str) -> str:
    commit = run_folders.head()
    return f"refs/exps/{commit[:2]}/{commit[2:]}/{name}"
