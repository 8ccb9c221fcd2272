"""The tables that compare networks: their rows, and the parameters that each row is trained with."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args

from ferops.errors import FeropsError
from ferops.orchestration.pipeline import run_folders
from ferops.orchestration.sweeps import experiments
from ferops.orchestration.sweeps.experiments import Trial
from ferops.params import TRANSFERS, SystemName

Name = Literal["table3", "ablations"]
Subset = Literal["mini", "sample"]

BASE: Final = "weights/vgg16_fer_base.weights.h5"
"""Default weights of VGG16, which are in the repository: those of ImageNet have to be fetched."""

MINI: Final = "FER2013_MINI"
"""Environment variable that names a small copy of FER2013."""

_IMAGENET: Final = "imagenet"


class BadTable(FeropsError):
    """The data or weights that a table is to be measured on are missing."""


class TableRow(NamedTuple):
    """A row of a table: the recipe that it is trained by, and what is changed in it, by dotted keys."""

    recipe: str
    changes: Mapping[str, Any]


class ComparisonRequest(NamedTuple):
    """The settings that all rows share; None leaves them to recipe and params.yaml.

    Fields:
        epochs, minutes: the budget of each training.
        subset: data to use instead of those of params.yaml.
        weights: initial weights of the systems on VGG16: `imagenet`, or a file.
    """

    epochs: int | None = None
    minutes: float | None = None
    subset: Subset | None = None
    weights: str = BASE


_RECIPES: Final = {"vgg16_transfer": "paper", "vgg16_best": "best"}  # of the other systems: their own name
_CHOICES: Final[dict[str, dict[str, Any]]] = {
    "as the paper": {},
    "no median filter": {"preprocess.median_kernel": 1},
    "no augmentation": {"train.online_augmentation": False, "augment.min_share": 0.0},
    "no block frozen": {"model.frozen_blocks": 0},
    "all five blocks frozen": {"model.frozen_blocks": 5},
    "split random": {"data.split": "random"},
    "split folders": {"data.split": "folders"},
}
TABLES: Final[dict[Name, dict[str, TableRow]]] = {
    "table3": {
        system: TableRow(_RECIPES.get(system, system), {"data.split": "official"}) for system in get_args(SystemName)
    },
    "ablations": {title: TableRow("paper", changes) for title, changes in _CHOICES.items()},
}
"""The rows of each table by their titles."""


def plan(table: Name, request: ComparisonRequest) -> dict[str, Trial]:
    """Return the trial of each row by its title; their parameters are checked.

    Raises:
        BadTable: the small copy of FER2013 or the weights are missing.
        BadParams: a recipe is missing, or params.yaml would not take a value.
        RepositoryError: this is no git repository.
    """
    budget = {"train.epochs": request.epochs, "train.minutes": request.minutes}
    given = {key: value for key, value in budget.items() if value is not None}
    common = {**given, **_data(request.subset), experiments.CLOSED: False}
    weights = _weights(request.weights)
    trials = {}
    for title, row in TABLES[table].items():
        changes = {**row.changes, **common}
        settings = run_folders.settings(row.recipe, changes)
        if experiments.base(settings).model.name in TRANSFERS:
            settings["model"]["weights"] = weights
        name = run_folders.experiment_name(f"{table}-{re.sub(r'[^a-z0-9]+', '-', title)}", settings)
        trials[title] = Trial(name, {"recipe": row.recipe, **changes}, settings)
    return trials


def _data(subset: Subset | None) -> dict[str, str]:
    if subset is None:
        return {}
    if subset == "sample":
        return {"data.source": "data/sample/fer2013.csv", "data.dataset": "sample"}
    path = os.environ.get(MINI, "")
    if not Path(path).is_file():
        raise BadTable(
            f"subset mini: {MINI} names no file (found {path!r}); set it to a small copy of FER2013, "
            f"as in export {MINI}=~/fer2013-mini.csv.xz"
        )
    return {"data.source": str(Path(path).resolve()), "data.dataset": "other"}  # absolute: trials run elsewhere


def _weights(path: str) -> str:
    """Make the path absolute, because trials run elsewhere; what is in the repository is in their folder too."""
    if path in (BASE, _IMAGENET):
        return path
    if not Path(path).is_file():
        raise BadTable(f"weights: there is no file {path}; expected a file of VGG16 weights, or {_IMAGENET}")
    return str(Path(path).resolve())
