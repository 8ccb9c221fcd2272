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

BASE: Final = "weights/vgg16_best.keras"
"""Default weights of VGG16, which are in the repository: those of ImageNet have to be fetched."""

MINI: Final = "FER2013_MINI"
"""Environment variable that names a small copy of FER2013."""

_IMAGENET: Final = "imagenet"


class BadTable(FeropsError):
    """The data or weights that a table is to be measured on are missing."""


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
TABLES: Final[dict[Name, dict[str, tuple[str, Mapping[str, Any]]]]] = {
    "table3": {system: (_RECIPES.get(system, system), {"data.split": "official"}) for system in get_args(SystemName)},
    "ablations": {
        "as the paper": ("paper", {}),  # three blocks frozen
        "no median filter": ("paper", {"preprocess.median_kernel": 1}),
        "no augmentation": ("paper", {"train.online_augmentation": False, "augment.min_share": 0.0}),
        **{f"frozen blocks: {frozen}": ("paper", {"model.frozen_blocks": frozen}) for frozen in (0, 1, 2, 4, 5)},
        "split random": ("paper", {"data.split": "random"}),
        "split folders": ("paper", {"data.split": "folders"}),
    },
}
"""The rows of each table: title -> the recipe that it is trained by, and what is changed in it, by dotted keys."""


def plan(table: Name, request: ComparisonRequest) -> dict[str, Trial]:
    """Return the trial of each row by its title; their parameters are checked.

    Raises:
        BadTable: the small copy of FER2013 or the weights are missing.
        BadParams: a recipe is missing, or params.yaml would not take a value.
        RepositoryError: this is no git repository.
    """
    budget = {"train.epochs": request.epochs, "train.minutes": request.minutes}
    common = {key: most for key, most in budget.items() if most is not None}
    common |= {**_data(request.subset), experiments.CLOSED: False}
    weights = request.weights
    if weights not in (BASE, _IMAGENET):  # which every trial has
        missing = f"weights: there is no file {weights}; expected a file of VGG16 weights, or {_IMAGENET}"
        weights = _whole(weights, missing)
    trials = {}
    for title, (recipe, row) in TABLES[table].items():
        changes = {**row, **common}
        settings = run_folders.settings(recipe, changes)
        if experiments.base(settings).model.name in TRANSFERS:
            settings["model"]["weights"] = weights
        name = run_folders.experiment_name(f"{table}-{re.sub(r'[^a-z0-9]+', '-', title)}", settings)
        trials[title] = Trial(name, {"recipe": recipe, **changes}, settings)
    return trials


def _data(subset: Subset | None) -> dict[str, Any]:
    if subset is None:
        return {}
    if subset == "sample":
        return {"data.source": "data/sample/fer2013.csv", "data.dataset": "sample"}
    path = os.environ.get(MINI, "")
    missing = f"subset mini: {MINI} names no file (found {path!r}); set it to a small copy of FER2013"
    return {"data.source": _whole(path, missing), "data.dataset": "other"}


def _whole(path: str, missing: str) -> str:
    """Return the absolute path of a file, because trials run elsewhere."""
    if not Path(path).is_file():
        raise BadTable(missing)
    return str(Path(path).resolve())
