import shutil
from pathlib import Path
from typing import Any, get_args

import pytest
from ruamel.yaml import YAML
from support import ROOT

from ferops import params

RECIPES = sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))
OF_THE_DATA = {"data.source", "data.dataset", "data.split"}
"""Not reset by a recipe, so that a recipe which needs one has to name it."""

LEAN = """sample: {}
data: {}
preprocess: # as it is
validate: {}
augment:
  warp: {}
model: {}
train:
  epochs: 5 # short
evaluate: {}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "params.yaml", tmp_path))


@pytest.mark.parametrize(
    ("found", "wrong", "names"),
    [
        ("  epochs: 3", "  epochs: eight", "train.epochs"),
        ("  epochs: 3", "  epochs: -1", "train.epochs"),
        ("  epochs: 3", "  epochs: 8.5", "train.epochs"),
        ("  epochs: 3", "  epoch: 3", "train.epoch"),
        ("    min: 90", "", "validate.pixel_mean.min"),
        ("\ntrain:\n", "\nfit:\n", "train is missing"),
        ("  warp: # the paper's five", "  warps:", "augment.warp is missing"),
        ("median_kernel: 3", "median_kernel: 4", "preprocess.median_kernel"),
        ("  rotation: 10", "  rotation: -1", "augment.warp.rotation"),
        ("horizontal_flip: true", "horizontal_flip: 1", "augment.warp.horizontal_flip"),
        ("  dropout: 0.3", "  dropout: [0.3", "line"),
        ("max_psi: 0.2", "max_psi: 0", "monitoring.max_psi"),
        ("min_images: 100", "min_images: 10", "monitoring.min_images"),
        ("retrain: false", "retrain: 0", "monitoring.retrain"),
    ],
)
def test_a_wrong_parameter_is_one_line_that_names_the_key(file: Path, found: str, wrong: str, names: str) -> None:
    text = file.read_text()
    assert found in text
    file.write_text(text.replace(found, wrong))
    with pytest.raises(params.BadParams, match=names) as error:
        params.load(file)
    assert "\n" not in str(error.value)
    assert "params.yaml" in str(error.value)


def test_random_weights_cannot_be_frozen(file: Path) -> None:
    with pytest.raises(params.BadParams, match="frozen_blocks"):
        params.merge({"model": {"weights": "none"}}, file)


def test_no_epoch_is_trained_only_where_a_whole_network_is_given(file: Path) -> None:
    with pytest.raises(params.BadParams, match=r"train.epochs: 0 trains nothing; set model.weights to a .keras file"):
        params.merge({"model": {"weights": "imagenet"}, "train": {"epochs": 0}}, file)
    lean = params.load_recipe("lean_cnn", ROOT / "recipes")
    whole = {**lean, "model": {**lean["model"], "weights": "weights/mine.keras"}, "train": {"epochs": 0}}
    assert params.merge(whole, file)
    with pytest.raises(params.BadParams, match=r"lean_cnn starts from random weights or a whole network of its own"):
        params.merge({"model": {"weights": "weights/mine.h5"}}, file)


def test_only_a_system_that_takes_images_of_any_size_is_trained_on_small_ones(file: Path) -> None:
    with pytest.raises(params.BadParams, match="resize_epochs: vgg16_transfer takes images of one size") as error:
        params.merge({"train": {"resize_epochs": 2}}, file)
    assert len(str(error.value)) < 250
    assert params.merge(params.load_recipe("lean_cnn", ROOT / "recipes") | {"train": {"resize_epochs": 2}}, file)


def test_the_last_epoch_is_on_whole_images(file: Path) -> None:
    recipe = params.load_recipe("lean_cnn", ROOT / "recipes")
    params.merge(recipe | {"train": {"epochs": 3, "resize_epochs": 2}}, file)
    with pytest.raises(params.BadParams, match="train.resize_epochs: no epoch is left on whole images"):
        params.merge({"train": {"resize_epochs": 3}}, file)


@pytest.mark.parametrize("teacher", ["", "weights/mine.keras", "models:/fer-vgg16/3"])
def test_a_teacher_is_a_file_or_a_version(file: Path, teacher: str) -> None:
    params.merge({"train": {"teacher": teacher}}, file)
    assert params.load(file).train.teacher == teacher


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"teacher": "models:/fer-vgg16@champion"}, r"train.teacher: .*FILE.keras, models:/NAME/NUMBER .*@champion'"),
        ({"teacher": "models:/fer-vgg16@a.keras"}, r"train.teacher: "),
        ({"teacher": "mine.h5"}, r"train.teacher: .*expected FILE.keras, .*found 'mine.h5'"),
        ({"teacher": "weights/mine.keras", "epochs": 0}, r"train.teacher: with train.epochs 0 nothing learns from it"),
        ({"teacher_share": 1.5}, r"train.teacher_share"),
        ({"teacher_temperature": 0.0}, r"train.teacher_temperature"),
    ],
)
def test_a_teacher_that_cannot_teach_is_one_line(file: Path, values: dict[str, Any], says: str) -> None:
    with pytest.raises(params.BadParams, match=says) as error:
        params.merge({"train": values}, file)
    assert "\n" not in str(error.value)


def test_a_merge_keeps_comments_and_changes_only_what_it_names(file: Path) -> None:
    before = file.read_text().splitlines()
    params.merge({"train": {"epochs": 5}, "augment": {"warp": {"zoom": 0.2}}}, file)
    after = file.read_text().splitlines()
    changed = {new for old, new in zip(before, after, strict=True) if old != new}
    assert {line.split("#")[0].strip() for line in changed} == {"epochs: 5", "zoom: 0.2"}
    assert params.load(file).train.epochs == 5


def test_a_merge_that_would_not_be_valid_changes_nothing(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(params.BadParams, match="train.epochs"):
        params.merge({"train": {"epochs": -1}}, file)
    assert file.read_bytes() == before
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]


def test_the_file_of_the_repository_has_every_key_at_its_default() -> None:
    written = params.flat(_shipped())
    default = params.flatten(params.defaults())
    assert written == default
    # logged to MLflow, 10 and 10.0 are two values
    assert repr(params.flatten(params.load(ROOT / "params.yaml"))) == repr(default)


def test_keys_may_be_left_out(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(LEAN)
    expected = params.flatten(params.defaults()) | {"train.epochs": 5}
    assert repr(params.flatten(params.load(file))) == repr(expected)


def test_the_sections_that_must_be_there_are_those_without_which_dvc_stops() -> None:
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"].values()
    tracked = {key for stage in stages for key in stage.get("params", [])}
    sections = params.Params.model_fields
    required = {field.alias or name for name, field in sections.items() if field.is_required()}
    assert required == {key.partition(".")[0] for key in tracked}
    below = {(key, name) for key in sections for name in _required_sections(sections[key].annotation)}
    assert below == {tuple(key.split(".")) for key in tracked if "." in key}


def _required_sections(section: Any) -> set[str]:
    return {name for name, field in section.model_fields.items() if field.is_required()}


def test_a_merge_into_a_short_file_writes_what_is_no_default(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(LEAN)
    params.merge({"train": {"batch_size": 32, "patience": 2}, "evaluate": {"tta": "mirror"}}, file)
    assert file.read_text() == LEAN.replace("epochs: 5 # short\n", "epochs: 5 # short\n  patience: 2\n")


def test_a_merge_into_a_value_of_several_keys_keeps_the_other_defaults(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(LEAN)
    merged = params.merge({"promotion": {"floors": {"f1_macro": 0.9}}, "validate": {"pixel_mean": {"min": 80.0}}}, file)
    assert merged.promotion.floors == {"accuracy": 0.5, "f1_macro": 0.9}
    assert (merged.validate_.pixel_mean.min, merged.validate_.pixel_mean.max) == (80, 170)
    assert params.load(file) == merged


@pytest.mark.parametrize(("key", "value"), [("horizontal_flip", 1), ("rotation", True), ("zoom", "0.1")])
def test_a_merge_is_as_strict_as_the_file(file: Path, key: str, value: object) -> None:
    with pytest.raises(params.BadParams, match=f"augment.warp.{key}"):
        params.merge({"augment": {"warp": {key: value}}}, file)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_is_valid_and_holds_no_default(file: Path, recipe: str) -> None:
    params.merge(params.load_recipe(recipe, ROOT / "recipes"), file)
    default = params.flatten(params.defaults())
    own = params.flat(YAML(typ="safe").load(ROOT / f"recipes/{recipe}.yaml"))
    assert {key for key, value in own.items() if default[key] == value} <= OF_THE_DATA


def test_the_demo_recipe_is_the_defaults(file: Path) -> None:
    before = file.read_bytes()
    params.merge(params.load_recipe("demo", ROOT / "recipes"), file)
    assert file.read_bytes() == before


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_gives_the_same_parameters_whatever_recipe_was_merged_before(recipe: str) -> None:
    own = params.load_recipe(recipe, ROOT / "recipes")
    alone = params.merged(_shipped(), own, "alone")
    for other in RECIPES:
        document = _shipped()
        params.merged(document, params.load_recipe(other, ROOT / "recipes"), "before")
        assert params.merged(document, own, "after") == alone


def _shipped() -> dict[str, Any]:
    return dict(YAML(typ="safe").load(ROOT / "params.yaml"))


def test_a_recipe_leaves_what_is_not_its_own(file: Path) -> None:
    owned: dict[str, Any] = {
        "sample": {"train": 700},
        "data": {"source": "data/raw/own.csv", "dataset": "other", "split": "folders", "split_seed": 3},
        "preprocess": {"duplicate_rms": 1.0, "blank_std": 0.5},
        "validate": {"count_tolerance": 0.5},
        "augment": {"seed": 4},
        "train": {"seed": 9},
        "evaluate": {"test": False, "calibration_bins": 5},
        "promotion": {"tolerance": 0.2},
        "monitoring": {"retrain": True},
    }
    params.merge(owned, file)
    after = params.flatten(params.merge(params.load_recipe("lean_cnn", ROOT / "recipes"), file))
    assert {key: after[key] for key in params.flat(owned)} == params.flat(owned)


def test_each_system_has_a_recipe() -> None:
    recipes = [params.load_recipe(recipe, ROOT / "recipes") for recipe in RECIPES]
    assert {recipe["model"]["name"] for recipe in recipes} == set(get_args(params.SystemName))


@pytest.mark.parametrize(("key", "value"), [("weights", "imagenet"), ("noise", 0.1)])
def test_a_system_that_starts_from_nothing_takes_neither_weights_nor_noise(file: Path, key: str, value: object) -> None:
    own = params.load_recipe("cnn", ROOT / "recipes")
    with pytest.raises(params.BadParams, match="cnn starts from random weights"):
        params.merge({**own, "model": {**own["model"], key: value}}, file)


def test_only_lean_cnn_takes_a_width(file: Path) -> None:
    with pytest.raises(params.BadParams, match="width 1.5: cnn has the channels of its source; only lean_cnn takes"):
        own = params.load_recipe("cnn", ROOT / "recipes")
        params.merge({**own, "model": {**own["model"], "width": 1.5}}, file)


def test_an_unknown_recipe_tells_which_there_are() -> None:
    with pytest.raises(params.BadParams, match="demo, gan_augmented"):
        params.load_recipe("papper", ROOT / "recipes")


def test_flat_keys_are_those_of_the_file() -> None:
    flat = params.flatten(params.load(ROOT / "params.yaml"))
    assert flat["augment.warp.rotation"] == 10
    assert flat["validate.pixel_mean.min"] == 90
    assert flat["train.precision"] == "auto"
