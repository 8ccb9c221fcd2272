"""Trials and their results, each trial a DVC experiment on the clone's commit."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from ruamel.yaml import YAML

from ferops import params
from ferops.machine import git
from ferops.machine.subprocesses import OnLine
from ferops.orchestration.pipeline import run_folders
from ferops.params import Params
from ferops.tracking import runs

CLOSED: Final = "evaluate.test"
"""False in every trial: the test split is scored for a model already chosen, and trials are there to choose."""


class Trial(NamedTuple):
    """A training to compare with others.

    Fields:
        name: of its DVC experiment.
        values: what tells it from the other trials; dotted keys.
        settings: all parameters to merge into params.yaml, nested.
        watch: where it may be pruned: given folder and callback of its pipeline, the callback that reports its epochs.
    """

    name: str
    values: Mapping[str, Any]
    settings: dict[str, Any]
    watch: Callable[[Path, OnLine], OnLine] | None = None


class TrialResult(NamedTuple):
    """The result of a trial.

    Fields:
        trial: the trial.
        scores: metrics/val.json of its experiment; None where the trial failed or was pruned.
        reason: why.
        run_id: of its MLflow run, where there is one.
        training: models/training.json, where it was read.
        is_pruned: its training was ended, because it promised no better result than others.
    """

    trial: Trial
    scores: Mapping[str, Any] | None
    reason: str = ""
    run_id: str = ""
    training: Mapping[str, Any] = {}
    is_pruned: bool = False

    @property
    def accuracy(self) -> float:
        """On validation; NaN without scores."""
        return float(self.scores["accuracy"]) if self.scores else math.nan

    @property
    def measured(self) -> Mapping[str, Any]:
        """Its training and scores as one mapping, with the bounds of the accuracy's interval as `low` and `high`."""
        if not self.scores:
            return self.training
        low, high = self.scores["accuracy_interval"]
        return {**self.training, **self.scores, "low": low, "high": high}

    def figures(self, templates: Mapping[str, str]) -> dict[str, str]:
        """Return the cells of a row: format strings filled in with what was measured, a dash where something was not.

        Args:
            templates: column -> format string.
        """
        cells = dict.fromkeys(templates, "-")
        for column, template in templates.items():
            with suppress(KeyError, TypeError):  # it is not there, or null
                cells[column] = template.format_map(self.measured)
        return cells


def ranked(results: Iterable[TrialResult]) -> list[TrialResult]:
    """Sort results: the best on validation first, then those that were pruned, failed ones last."""
    return sorted(results, key=lambda one: (not one.scores, -one.accuracy if one.scores else not one.is_pruned))


def finished(names: Iterable[str]) -> set[str]:
    """Return the names of those trials that have finished: their experiment has scores, and their run is published."""
    scored = [name for name in names if scores(name)]
    return set(runs.of_experiments(scored)) if scored else set()


def base(settings: Mapping[str, Any]) -> Params:
    """Return the parameters of the clone's commit with settings merged into them, as every trial starts from them.

    Args:
        settings: nested, of recipe and overrides.

    Raises:
        BadParams: they are not valid.
        RepositoryError: this is no git repository.
    """
    committed = YAML(typ="safe", pure=True).load(git.run(Path(), "show", "HEAD:params.yaml"))
    return params.merged(committed, settings, "params.yaml with the changes asked for")


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
