"""params.yaml as a strict, frozen model: the only source of parameters."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from ferops.errors import FeropsError
from ferops.machine.files import replacing

Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class BadParams(FeropsError):
    """params.yaml or a recipe has an unknown key, a wrong type or a value out of range."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Sample(_Section):
    """The synthetic sample: how many faces, from which seed."""

    seed: Seed
    train: int = Field(ge=70, le=100_000)
    validation: int = Field(ge=70, le=100_000)
    test: int = Field(ge=70, le=100_000)


class Data(_Section):
    """Which copy of FER2013, what it claims to be, and how it is split."""

    source: str = Field(min_length=1)
    dataset: Literal["sample", "fer2013", "other"]
    split: Literal["official", "random", "folders"]
    split_seed: Seed


class Preprocess(_Section):
    """Filtering and cleaning."""

    median_kernel: Literal[1, 3, 5, 7]
    duplicates: Literal["keep", "drop_in_training", "drop"]
    duplicate_rms: float = Field(ge=0, le=20)
    blank_std: float = Field(ge=0, le=20)


class Interval(_Section):
    """A closed interval of grey levels."""

    min: float = Field(ge=0, le=255)
    max: float = Field(ge=0, le=255)


class Validate(_Section):
    """Bounds of the data gates."""

    max_kl_divergence: float = Field(gt=0, le=10)
    count_tolerance: Fraction
    max_cross_split_duplicates: Fraction
    min_image_std: float = Field(ge=0, le=128)
    pixel_mean: Interval
    pixel_std: Interval


class Warp(_Section):
    """The paper's five augmentations; shifts and zoom as fractions of the side, rotation in degrees."""

    height_shift: float = Field(ge=0, le=0.5)
    width_shift: float = Field(ge=0, le=0.5)
    rotation: float = Field(ge=0, le=180)
    zoom: float = Field(ge=0, le=0.5)
    horizontal_flip: bool


class Augment(_Section):
    """Offline augmentation: the least share of every class, and the warp."""

    seed: Seed
    min_share: float = Field(ge=0, le=1 / 7)
    warp: Warp


SystemName = Literal[
    "vgg16_transfer", "vgg16_features_mlp", "vgg_spinal", "vgg_progressive_spinal", "vgg16_best",
    "cnn", "cnn_lbp_orb", "cnn_realtime", "alexnet", "lean_cnn", "gan_augmented", "hog_linear",
]  # fmt: skip
"""The systems of the paper's Table 3, its own among them, and ours: recipes/ has a file for each."""

TRANSFERS: Final = ("vgg16_transfer", "vgg16_features_mlp", "vgg_spinal", "vgg_progressive_spinal")
"""Systems on Keras Applications' VGG16, which start from its weights."""


class Model(_Section):
    """The network: a system by its name, and its settings."""

    name: SystemName
    weights: str = Field(min_length=1)
    frozen_blocks: int = Field(ge=0, le=5)
    scaling: Literal["caffe", "unit"]
    noise: float = Field(ge=0, le=1)
    dropout: float = Field(ge=0, lt=1)

    @model_validator(mode="after")
    def _is_a_system_that_has_these(self) -> Self:
        if self.weights == "none" and self.frozen_blocks:
            raise ValueError("weights none with frozen_blocks over 0: random frozen features reach 34% at most")
        if self.name not in TRANSFERS and (self.weights != "none" or self.noise):
            raise ValueError(f"{self.name} starts from random weights and adds no noise: weights none, noise 0")
        return self


class Train(_Section):
    """The fit."""

    seed: Seed
    epochs: int = Field(ge=1, le=10_000)
    minutes: float = Field(ge=0, le=100_000)
    batch_size: int = Field(ge=1, le=8192)
    optimizer: Literal["adam", "sgd"]
    learning_rate: float = Field(gt=0, le=10)
    schedule: Literal["constant", "cosine"]
    warmup_epochs: int = Field(ge=0, le=1000)
    weight_decay: float = Field(ge=0, le=1)
    clip_norm: float = Field(ge=0, le=1000)
    average: float = Field(ge=0, lt=1)
    label_smoothing: float = Field(ge=0, lt=1)
    mixup: Fraction
    brightness: Fraction
    erasing: Fraction
    clean_epochs: int = Field(ge=0, le=10_000)
    patience: int = Field(ge=1, le=10_000)
    precision: Literal["float32", "mixed_bfloat16"]
    online_augmentation: bool


class Evaluate(_Section):
    """What is scored."""

    test: bool
    calibration_bins: int = Field(ge=2, le=100)
    tta: Literal["mirror", "crops"]


Floor = Literal[
    "accuracy", "accuracy_deduplicated", "binary_accuracy",
    "precision_macro", "recall_macro", "f1_macro", "specificity_macro", "precision_micro", "recall_micro",
]  # fmt: skip
"""Fractions of metrics/val.json that follow from predictions.parquet, which holds no mirrored images."""


class Promotion(_Section):
    """Rules of the promotion gate; every figure is of the validation images."""

    floors: dict[Floor, Fraction]
    min_class_recall: Fraction
    max_calibration_error: Fraction
    tolerance: Fraction


class Monitoring(_Section):
    """Bounds of the monitoring flow, and what drift starts."""

    max_psi: float = Field(gt=0, le=10)
    min_images: int = Field(ge=30, le=1_000_000)
    retrain: bool


class Params(_Section):
    """All of params.yaml."""

    sample: Sample
    data: Data
    preprocess: Preprocess
    validate_: Validate = Field(alias="validate")
    augment: Augment
    model: Model
    train: Train
    evaluate: Evaluate
    promotion: Promotion
    monitoring: Monitoring


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml.

    Raises:
        BadParams: naming the file, the key, what was found and what was expected.
    """
    return check(_read(path), str(path))


def check(values: Any, origin: str) -> Params:
    """Check a mapping against the model; `origin` names it in errors."""
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        found = "" if first["type"] == "missing" else f" (found {first['input']!r})"
        raise BadParams(f"{origin}: {key}: {first['msg']}{found}") from None


def merge(values: dict[str, Any], path: Path = Path("params.yaml")) -> Params:
    """Merge a nested mapping into params.yaml, keeping its comments and order.

    The result is checked before anything is written, and replaces the file in one step.

    Raises:
        BadParams: the merged parameters would not be valid; the file is unchanged.
    """
    document = _read(path)
    _overlay(document, values)
    merged = check(document, f"{path} with the changes asked for")
    with replacing(path) as scratch, scratch.open("w", encoding="utf-8") as stream:
        _yaml().dump(document, stream)
    return merged


def load_recipe(name: str, folder: Path = Path("recipes")) -> dict[str, Any]:
    """The overrides in `recipes/NAME.yaml`, as a plain nested mapping.

    Raises:
        BadParams: there is no such recipe, or it is not a mapping.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(recipe.stem for recipe in folder.glob("*.yaml"))) or "none"
        raise BadParams(f"there is no recipe {name!r}; {folder}/ has: {known}")
    return dict(_read(path))


def flatten(params: Params) -> dict[str, Any]:
    """Every parameter under its dotted key, as in params.yaml."""
    return flat(params.model_dump(by_alias=True))


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping under dotted keys, whatever is in it: parameters of other times have other sections."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    return yaml


def _read(path: Path) -> CommentedMap:
    try:
        document = _yaml().load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadParams(f"{path} is missing; run this in the repository's root") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise BadParams(f"{path}{where}: not YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(document, CommentedMap):
        raise BadParams(f"{path}: expected a mapping of sections at the top")
    return document


def _overlay(document: CommentedMap, values: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(document.get(key), CommentedMap):
            _overlay(document[key], value)
        else:
            document[key] = value
