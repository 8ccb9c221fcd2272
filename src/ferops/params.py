"""params.yaml as a strict, frozen model: the only source of parameters and of their defaults."""

import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ferops.errors import FeropsError
from ferops.machine.files import replacing

Fraction = Annotated[float, Field(ge=0, le=1)]
GrayLevel = Annotated[float, Field(ge=0, le=255)]
Count = Annotated[int, Field(ge=70, le=100_000)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class BadParams(FeropsError):
    """params.yaml or a recipe has an unknown key, a wrong type or a value out of range."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_empty(cls, values: Any) -> Any:
        """A section of which every key is commented out is null in YAML."""
        return {} if values is None else values


class Sample(_Section):
    """The synthetic sample: how many faces of each split, from which seed."""

    seed: Seed = 2013
    train: Count = 1400
    validation: Count = 350
    test: Count = 350


class Data(_Section):
    """Which copy of FER2013, what it claims to be, and how it is split.

    Attributes:
        source: any copy that `ferops.data.readers.layouts` reads.
        dataset: `fer2013` is held to the official counts.
        labels: names of the source's numbered classes, in ascending order of the numbers, comma-separated.
        skip: classes of the source that are left out, comma-separated.
        split: `official` is Kaggle's Usage, `random` 70/30 and stratified, `folders` train and the merged test.
        split_seed: of the cuts that ferops makes.
        overrides: a CSV of training images that have another label than the source's, or are dropped.
    """

    source: str = Field("data/sample/fer2013.csv", min_length=1)
    dataset: Literal["sample", "fer2013", "other"] = "sample"
    labels: str = ""
    skip: str = ""
    split: Literal["official", "random", "folders"] = "official"
    split_seed: Seed = 0
    overrides: str = Field("data/overrides.csv", min_length=1)


class Preprocess(_Section):
    """Filtering and cleaning.

    Attributes:
        median_kernel: side of the median filter in pixels; 3 is the paper's, 1 is none.
        duplicates: what is done with duplicate images.
        duplicate_rms: largest root mean square difference of two duplicates, in gray levels.
        blank_std: smallest standard deviation of an image that is not blank, in gray levels.
    """

    median_kernel: Literal[1, 3, 5, 7] = 3
    duplicates: Literal["keep", "drop_in_training", "drop"] = "drop_in_training"
    duplicate_rms: float = Field(4.0, ge=0, le=20)
    blank_std: float = Field(2.0, ge=0, le=20)


class Interval(_Section):
    """A closed interval of gray levels."""

    min: GrayLevel
    max: GrayLevel


class Validate(_Section):
    """Bounds of the data gates.

    Attributes:
        max_kl_divergence: of a split's class shares from FER2013's (not where `data.dataset` is `other`), and from the
            other splits'.
        count_tolerance: how far a split may be from its expected size, as a fraction.
        max_cross_split_duplicates: share of the validation or test images with a duplicate in an earlier split.
        min_image_std: smallest standard deviation of an image, in gray levels.
        pixel_mean, pixel_std: of a whole split.
    """

    max_kl_divergence: float = Field(0.05, gt=0, le=10)
    count_tolerance: Fraction = 0.08
    max_cross_split_duplicates: Fraction = 0.1
    min_image_std: float = Field(2.0, ge=0, le=128)
    pixel_mean: Interval = Interval(min=90.0, max=170.0)
    pixel_std: Interval = Interval(min=20.0, max=90.0)


class Warp(_Section):
    """The paper's five augmentations; shifts and zoom as fractions of the side, rotation in degrees, either way."""

    height_shift: float = Field(0.1, ge=0, le=0.5)
    width_shift: float = Field(0.1, ge=0, le=0.5)
    rotation: float = Field(10.0, ge=0, le=180)
    zoom: float = Field(0.1, ge=0, le=0.5)
    horizontal_flip: bool = True


class Augment(_Section):
    """Offline augmentation: the least share of every class in the training set, and the warp of the copies."""

    seed: Seed = 0
    min_share: float = Field(0.1, ge=0, le=1 / 7)
    warp: Warp


SystemName = Literal[
    "vgg16_transfer", "vgg16_features_mlp", "vgg_spinal", "vgg_progressive_spinal", "vgg16_best",
    "cnn", "cnn_lbp_orb", "cnn_realtime", "alexnet", "lean_cnn", "gan_augmented", "hog_linear",
]  # fmt: skip
"""The systems of the paper's Table 3, its own among them, and ours: recipes/ has a file for each."""

RESIZABLE: Final = ("vgg16_best", "lean_cnn")
"""Systems from random weights that do not depend on the size of the images: they average over what is left of it."""

TRANSFERS: Final = ("vgg16_transfer", "vgg16_features_mlp", "vgg_spinal", "vgg_progressive_spinal")
"""Systems on Keras Applications' VGG16, which start from its weights."""


class Model(_Section):
    """The network: a system by its name, and its settings.

    Attributes:
        weights: `imagenet`, `none`, a file of VGG16 without top, or a whole network of the system: a .keras file.
        frozen_blocks: of VGG16's five; 3 is what the paper's counts say.
        scaling: `caffe` as ImageNet's VGG16, or `unit`.
        noise: standard deviation of the Gaussian noise layer.
        dropout: rate of the dropout layers.
        width: multiplies the channels of lean_cnn.
    """

    name: SystemName = "vgg16_transfer"
    weights: str = Field("weights/vgg16_best.keras", min_length=1)
    frozen_blocks: int = Field(3, ge=0, le=5)
    scaling: Literal["caffe", "unit"] = "caffe"
    noise: float = Field(0.1, ge=0, le=1)
    dropout: float = Field(0.3, ge=0, lt=1)
    width: float = Field(1.0, ge=0.25, le=4)

    @property
    def is_whole(self) -> bool:
        """Return whether the weights are in a format that holds a whole network."""
        return self.weights.endswith(".keras")

    @model_validator(mode="after")
    def _check_start(self) -> Self:
        if self.weights == "none" and self.frozen_blocks:
            raise ValueError("weights none with frozen_blocks over 0: random frozen features reach 34% at most")
        if self.name not in TRANSFERS and (self.noise or not (self.weights == "none" or self.is_whole)):
            start = "starts from random weights or a whole network of its own and adds no noise"
            raise ValueError(f"{self.name} {start}: weights none or FILE.keras, noise 0")
        if self.width != 1 and self.name != "lean_cnn":
            raise ValueError(
                f"width {self.width}: {self.name} has the channels of its source; only lean_cnn takes a width"
            )
        return self


class Train(_Section):
    """Training hyperparameters.

    Attributes:
        epochs: at most; 0 takes the whole network in `model.weights` as it is.
        minutes: of training in all, frozen blocks that are computed once included; 0 is as many as it takes.
        warmup_epochs: in which the learning rate rises from zero.
        weight_decay: of kernels.
        clip_norm: greatest norm of the whole gradient; 0 is any.
        average: decay per batch of the moving average (EMA) of the weights; 0 is none.
        mixup: share of the batches whose images are mixed in pairs.
        brightness: greatest change of brightness and contrast, as a fraction.
        erasing: share of the training images that lose a rectangle.
        resize_epochs: first epochs, not all, on images of 32 pixels.
        clean_epochs: last epochs without mixup, brightness and erasing.
        patience: epochs without a better validation accuracy before it stops.
        precision: `auto` is mixed_bfloat16 where the accelerator, or else the processor, computes in it.
        online_augmentation: whether every training image is warped anew each epoch.
        teacher: whose probabilities are part of the targets: a .keras file of a whole network, or a version, as
            `models:/NAME/NUMBER`; empty is none.
        teacher_share: of the targets.
        teacher_temperature: by which its logits are divided.
    """

    seed: Seed = 0
    epochs: int = Field(3, ge=0, le=10_000)
    minutes: float = Field(0.0, ge=0, le=100_000)
    batch_size: int = Field(32, ge=1, le=8192)
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = Field(0.0003, gt=0, le=10)
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup_epochs: int = Field(0, ge=0, le=1000)
    weight_decay: float = Field(0.0, ge=0, le=1)
    clip_norm: float = Field(0.0, ge=0, le=1000)
    average: float = Field(0.0, ge=0, lt=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    mixup: Fraction = 0.0
    brightness: Fraction = 0.0
    erasing: Fraction = 0.0
    resize_epochs: int = Field(0, ge=0, le=10_000)
    clean_epochs: int = Field(0, ge=0, le=10_000)
    patience: int = Field(8, ge=1, le=10_000)
    precision: Literal["auto", "float32", "mixed_bfloat16"] = "auto"
    online_augmentation: bool = False
    teacher: str = ""
    teacher_share: Fraction = 0.5
    teacher_temperature: float = Field(1.0, gt=0, le=100)

    @field_validator("teacher")
    @classmethod
    def _check_teacher(cls, teacher: str) -> str:
        if not re.fullmatch(r"|(?!models:/).+\.keras|models:/[\w-]+/[0-9]+", teacher):
            raise ValueError("expected FILE.keras, models:/NAME/NUMBER (an alias would move), or ''")
        return teacher


class Evaluate(_Section):
    """What is scored.

    Attributes:
        test: false in trials: the test split stays closed.
        calibration_bins: of the calibration error.
        tta: views whose predictions are averaged, as in `ferops.data.views`.
        uncertain_below: an answer with a lower calibrated probability is uncertain; chosen on PublicTest.
    """

    test: bool = True
    calibration_bins: int = Field(15, ge=2, le=100)
    tta: Literal["mirror", "crops"] = "mirror"
    uncertain_below: Fraction = 0.6


Floor = Literal[
    "accuracy", "accuracy_deduplicated", "binary_accuracy",
    "precision_macro", "recall_macro", "f1_macro", "specificity_macro", "precision_micro", "recall_micro",
]  # fmt: skip
"""Fractions of metrics/val.json that follow from predictions.parquet, which holds no mirrored images."""


class Promotion(_Section):
    """Rules of the promotion gate; every figure is of the validation images.

    Attributes:
        floors: least value of a metric.
        min_class_recall: of every expression.
        tolerance: the 95% interval of accuracy minus the champion's must lie above minus this.
    """

    floors: dict[Floor, Fraction] = {"accuracy": 0.5, "f1_macro": 0.4}
    min_class_recall: Fraction = 0.05
    max_calibration_error: Fraction = 0.15
    tolerance: Fraction = 0.01


class Monitoring(_Section):
    """Bounds of the monitoring flow, and whether drift starts a training.

    Attributes:
        max_psi: population stability index, chance allowed for.
        min_images: fewer scored images say too little.
    """

    max_psi: float = Field(0.2, gt=0, le=10)
    min_images: int = Field(100, ge=30, le=1_000_000)
    retrain: bool = False


class Params(_Section):
    """All of params.yaml: sections that dvc.yaml lists have to be there, since DVC stops without, but may be empty."""

    sample: Sample
    data: Data
    preprocess: Preprocess
    validate_: Validate = Field(alias="validate")
    augment: Augment
    model: Model
    train: Train
    evaluate: Evaluate
    promotion: Promotion = Promotion()
    monitoring: Monitoring = Monitoring()

    @model_validator(mode="after")
    def _check_resizing(self) -> Self:
        if self.train.resize_epochs and self.model.name not in RESIZABLE:
            sizes = f"train.resize_epochs: {self.model.name} takes images of one size"
            raise ValueError(f"{sizes}; set 0, or model.name to {' or '.join(RESIZABLE)}")
        if self.train.resize_epochs and self.train.resize_epochs >= self.train.epochs:
            raise ValueError("train.resize_epochs: no epoch is left on whole images; set fewer than train.epochs")
        return self

    @model_validator(mode="after")
    def _check_epochs(self) -> Self:
        if not self.train.epochs and not self.model.is_whole:
            raise ValueError(
                "train.epochs: 0 trains nothing; set model.weights to a .keras file of a whole "
                f"{self.model.name}, or 1 epoch or more"
            )
        if self.train.teacher and not self.train.epochs:
            raise ValueError("train.teacher: with train.epochs 0 nothing learns from it; set it to ''")
        return self


_KEPT_BY_RECIPES: Final = {
    "preprocess": {"duplicate_rms", "blank_std"},
    "augment": {"seed"},
    "model": set[str](),
    "train": {"seed"},
    "evaluate": {"test", "calibration_bins", "uncertain_below"},
}
"""Sections that a recipe resets -> keys in them that stay the user's."""


def defaults() -> Params:
    """Return the parameters of a params.yaml whose sections are all empty."""
    sections = dict.fromkeys(field.alias or name for name, field in Params.model_fields.items())
    return Params.model_validate({**sections, "augment": {"warp": {}}})


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
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise BadParams(f"{origin}: {key} is missing; expected a value, or {{}} for a whole section") from None
        # what several keys of a section say together names what it found itself
        found = "" if isinstance(first["input"], Mapping) else f" (found {first['input']!r})"
        where = ": ".join(filter(None, (origin, key)))
        raise BadParams(f"{where}: {first['msg'].removeprefix('Value error, ')}{found}") from None


def merge(values: Mapping[str, Any], path: Path = Path("params.yaml")) -> Params:
    """Merge a nested mapping into params.yaml, keeping its comments and order.

    A key that the file leaves out is written only where its value is not the default. The result is checked before
    anything is written, and replaces the file in one step.

    Raises:
        BadParams: the merged parameters would not be valid; the file is unchanged.
    """
    document = _read(path)
    params = merged(document, values, f"{path} with the changes asked for")
    with replacing(path) as scratch, scratch.open("w", encoding="utf-8") as stream:
        _yaml().dump(document, stream)
    return params


def merged(document: MutableMapping[str, Any], values: Mapping[str, Any], origin: str) -> Params:
    """Lay a nested mapping over the content of a params.yaml, in place, and check the result; see `merge`."""
    _overlay(document, values, defaults().model_dump(by_alias=True))
    return check(document, origin)


def load_recipe(name: str, folder: Path = Path("recipes")) -> dict[str, Any]:
    """Read a recipe: `recipes/NAME.yaml`, laid over the defaults of the keys that recipes govern.

    Merged into params.yaml it therefore gives the same parameters whatever recipe was merged before. `data`, seeds and
    the other keys of `_KEPT_BY_RECIPES` are in it only where the file names them.

    Returns:
        A nested mapping for `merge`.

    Raises:
        BadParams: there is no such recipe, or it is not a mapping.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(recipe.stem for recipe in folder.glob("*.yaml"))) or "none"
        raise BadParams(f"there is no recipe {name!r}; {folder}/ has: {known}")
    values = defaults().model_dump(include=set(_KEPT_BY_RECIPES), exclude=_KEPT_BY_RECIPES)
    _overlay(values, _read(path), {})
    return values


def closest_recipe(flattened: Mapping[str, Any], folder: Path = Path("recipes")) -> tuple[str, dict[str, Any]]:
    """Return the recipe that parameters are closest to, and those that differ from it, by their dotted keys.

    A recipe of another system is further than any of this one.

    Args:
        flattened: all parameters; of an older commit they may lack some.
        folder: of the recipes.

    Returns:
        Name and differing values; `none` without a recipe.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.yaml")):
        governed = flat(load_recipe(path.stem, folder))
        found[path.stem] = {key: flattened.get(key) for key in governed if flattened.get(key) != governed[key]}
    return min(found.items(), key=lambda one: ("model.name" in one[1], len(one[1])), default=("none", {}))


def flatten(params: Params) -> dict[str, Any]:
    """Return every parameter under its dotted key, as in params.yaml."""
    return flat(params.model_dump(by_alias=True))


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten a nested mapping to dotted keys, unchecked: params.yaml of older commits has other sections."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    return yaml


def _read(path: Path) -> MutableMapping[str, Any]:
    try:
        document = _yaml().load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadParams(f"{path} is missing; run this in the repository's root") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise BadParams(f"{path}{where}: not YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(document, MutableMapping):
        raise BadParams(f"{path}: expected a mapping of sections at the top")
    return document


def _overlay(values: MutableMapping[str, Any], changes: Mapping[str, Any], implied: Mapping[str, Any]) -> None:
    """Set nested values in a nested mapping, in place.

    Args:
        values: what is changed; an equal value stays as it is written (10 for 10.0).
        changes: the new values.
        implied: the defaults of keys that `values` leaves out: one that stays at its default is not written.
    """
    for key, value in changes.items():
        if not isinstance(value, Mapping):
            current = values.get(key, implied.get(key))
            if current != value or isinstance(current, bool) != isinstance(value, bool):  # 1 equals true
                values[key] = value
            continue
        if not isinstance(values.get(key), MutableMapping):
            # null is an empty section; of an interval or the floors, which is one value, the rest has to be there too
            values[key] = {} if key in values else dict(implied.get(key, {}))
        _overlay(values[key], value, implied.get(key, {}))
