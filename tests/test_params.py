import shutil
from pathlib import Path
from typing import get_args

import pytest
from support import ROOT

from ferops import params


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "params.yaml", tmp_path))


@pytest.mark.parametrize(
    ("found", "wrong", "names"),
    [
        ("  epochs: 8", "  epochs: eight", "train.epochs"),
        ("  epochs: 8", "  epochs: 0", "train.epochs"),
        ("  epochs: 8", "  epochs: 8.5", "train.epochs"),
        ("  epochs: 8", "  epoch: 8", "train.epoch"),
        ("  epochs: 8", "", "train.epochs"),
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


def test_a_merge_keeps_comments_and_changes_only_what_it_names(file: Path) -> None:
    before = file.read_text().splitlines()
    params.merge({"train": {"epochs": 3}, "augment": {"warp": {"zoom": 0.2}}}, file)
    after = file.read_text().splitlines()
    changed = {new for old, new in zip(before, after, strict=True) if old != new}
    assert {line.split("#")[0].strip() for line in changed} == {"epochs: 3", "zoom: 0.2"}
    assert params.load(file).train.epochs == 3


def test_a_merge_that_would_not_be_valid_changes_nothing(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(params.BadParams, match="train.epochs"):
        params.merge({"train": {"epochs": -1}}, file)
    assert file.read_bytes() == before
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("recipe", sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml")))
def test_every_recipe_is_valid(file: Path, recipe: str) -> None:
    params.merge(params.load_recipe(recipe, ROOT / "recipes"), file)


@pytest.mark.parametrize("recipe", sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml")))
def test_the_demo_recipe_leads_back_from_every_other(file: Path, recipe: str) -> None:
    default = params.load(file)
    params.merge(params.load_recipe(recipe, ROOT / "recipes"), file)
    assert params.merge(params.load_recipe("demo", ROOT / "recipes"), file) == default


@pytest.mark.parametrize("recipe", sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml")))
def test_a_recipe_leaves_nothing_of_the_one_before(file: Path, recipe: str) -> None:
    own = params.load_recipe(recipe, ROOT / "recipes")
    alone = params.merge(own, file)
    for other in ("best", "hog_linear", "paper"):
        params.merge(params.load_recipe(other, ROOT / "recipes"), file)
        after = params.merge(own, file)
        for section in ("preprocess", "augment", "model", "train", "evaluate"):
            assert getattr(after, section) == getattr(alone, section)


def test_each_system_has_a_recipe() -> None:
    recipes = [params.load_recipe(path.stem, ROOT / "recipes") for path in (ROOT / "recipes").glob("*.yaml")]
    assert {recipe["model"]["name"] for recipe in recipes} == set(get_args(params.SystemName))


@pytest.mark.parametrize(("key", "value"), [("weights", "imagenet"), ("noise", 0.1)])
def test_a_system_that_starts_from_nothing_takes_neither_weights_nor_noise(file: Path, key: str, value: object) -> None:
    own = params.load_recipe("cnn", ROOT / "recipes")
    with pytest.raises(params.BadParams, match="cnn starts from random weights"):
        params.merge({**own, "model": {**own["model"], key: value}}, file)


def test_an_unknown_recipe_tells_which_there_are() -> None:
    with pytest.raises(params.BadParams, match="demo, gan_augmented"):
        params.load_recipe("papper", ROOT / "recipes")


def test_flat_keys_are_those_of_the_file() -> None:
    flat = params.flatten(params.load(ROOT / "params.yaml"))
    assert flat["augment.warp.rotation"] == 10
    assert flat["validate.pixel_mean.min"] == 90
    assert flat["train.precision"] == "float32"
