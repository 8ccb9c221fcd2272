"""The tables that compare networks: which rows they have, and the parameters that each is trained with."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from ferops.errors import FeropsError
from ferops.orchestration.pipeline import run_folders
from ferops.orchestration.sweeps import experiments
from ferops.orchestration.sweeps.trials import TrialSpec
from ferops.params import TRANSFERS

Name = Literal["table3", "ablations"]
Subset = Literal["mini", "sample"]

BASE: Final = "weights/vgg16_fer_base.weights.h5"
"""The base that is in the repository: ImageNet's has to be fetched."""

MINI: Final = "FER2013_MINI"
"""Environment variable: a small copy of FER2013."""

_IMAGENET: Final = "imagenet"


class BadTable(FeropsError):
    """What a table is to be measured on is not there: a subset, the small copy of FER2013, the base weights."""


class Row(NamedTuple):
    """A row: its title, the recipe that it is trained by, and what is changed of it, by dotted keys."""

    title: str
    recipe: str
    changes: Mapping[str, Any]


class ComparisonRequest(NamedTuple):
    """What all rows share; None leaves it to recipe and params.yaml.

    Fields:
        epochs, minutes: the budget of each training.
        subset: data in the place of those of params.yaml.
        weights: base of the systems that start from VGG16's: `imagenet`, or a file.
    """

    epochs: int | None = None
    minutes: float | None = None
    subset: Subset | None = None
    weights: str = BASE


_SUBSETS: Final[tuple[Subset, ...]] = ("mini", "sample")
_RECIPES: Final = {"vgg16_transfer": "paper", "vgg16_best": "best"}  # the others have their own name's
_SYSTEMS: Final = (
    "vgg16_transfer", "vgg16_features_mlp", "cnn", "cnn_lbp_orb", "cnn_realtime", "vgg_spinal",
    "vgg_progressive_spinal", "gan_augmented", "alexnet", "hog_linear", "lean_cnn", "vgg16_best",
)  # fmt: skip
_CHOICES: Final[dict[str, dict[str, Any]]] = {
    "as the paper": {},
    "no median filter": {"preprocess.median_kernel": 1},
    "no augmentation": {"train.online_augmentation": False, "augment.min_share": 0.0},
    "no block frozen": {"model.frozen_blocks": 0},
    "all five blocks frozen": {"model.frozen_blocks": 5},
    "split random": {"data.split": "random"},
    "split folders": {"data.split": "folders"},
}
TABLES: Final[dict[Name, tuple[Row, ...]]] = {
    "table3": tuple(Row(name, _RECIPES.get(name, name), {"data.split": "official"}) for name in _SYSTEMS),
    "ablations": tuple(Row(title, "paper", changes) for title, changes in _CHOICES.items()),
}


def subset(text: str) -> Subset:
    """A subset by its name.

    Raises:
        BadTable: there is none of this name.
    """
    for known in _SUBSETS:
        if text == known:
            return known
    raise BadTable(f"subset: expected mini (the file in {MINI}) or sample (the synthetic faces), found {text!r}")


def plan(table: Name, asked: ComparisonRequest) -> list[TrialSpec]:
    """The trials of a table, one a row; their parameters are checked.

    Raises:
        BadTable: the small copy or the base weights are not there.
        BadParams: a recipe is missing, or params.yaml would not take a value.
        RepositoryError: this is no git repository.
    """
    common, weights = _common(asked), _weights(asked.weights)
    planned = []
    for row in TABLES[table]:
        values = run_folders.settings(row.recipe, {**row.changes, **common})
        if experiments.base(values).model.name in TRANSFERS:
            values["model"]["weights"] = weights
        name = run_folders.name_of(f"{table}-{re.sub(r'[^a-z0-9]+', '-', row.title)}", values)
        changed = ", ".join(f"{key}={value}" for key, value in {**row.changes, **common}.items())
        planned.append(TrialSpec(name, f"{row.title}: recipes/{row.recipe}.yaml, {changed}", values))
    return planned


def _common(asked: ComparisonRequest) -> dict[str, Any]:
    budget = {"train.epochs": asked.epochs, "train.minutes": asked.minutes}
    given = {key: value for key, value in budget.items() if value is not None}
    return {**given, **_data(asked.subset), experiments.CLOSED: False}


def _data(subset: Subset | None) -> dict[str, str]:
    if subset is None:
        return {}
    if subset == "sample":
        return {"data.source": "data/sample/fer2013.csv", "data.dataset": "sample"}
    named = os.environ.get(MINI, "")
    if not Path(named).is_file():
        raise BadTable(
            f"subset mini: {MINI} names no file (found {named!r}); set it to a small copy of FER2013, "
            f"as in export {MINI}=~/fer2013-mini.csv.xz"
        )
    return {"data.source": str(Path(named).resolve()), "data.dataset": "other"}  # absolute: trials run elsewhere


def _weights(named: str) -> str:
    """As a trial finds them, which runs elsewhere: what is in the repository, it has."""
    if named in (BASE, _IMAGENET):
        return named
    if not Path(named).is_file():
        raise BadTable(f"weights: there is no file {named}; expected a file of VGG16 weights, or {_IMAGENET}")
    return str(Path(named).resolve())
