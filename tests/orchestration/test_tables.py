import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from support import ROOT, shell

from ferops import params
from ferops.orchestration.sweeps import comparison_tables, experiments
from ferops.orchestration.sweeps.comparison_tables import BASE, TABLES, BadTable, ComparisonRequest
from ferops.orchestration.sweeps.experiments import Trial
from ferops.params import TRANSFERS, BadParams, Params, SystemName


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with params.yaml and recipes alone, which is the working directory."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    params.merge({"data": {"split": "folders"}}, tmp_path / "params.yaml")
    shell(tmp_path, "git", "init", "-q")
    shell(tmp_path, "git", "add", "-A")
    shell(tmp_path, "git", "commit", "-q", "-m", "start")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(comparison_tables.MINI, raising=False)
    return tmp_path


@pytest.fixture
def planned(place: Path) -> Callable[..., dict[str, Params]]:
    """Title of a row -> the parameters that it is trained with."""

    def plan(table: comparison_tables.Name, **given: Any) -> dict[str, Params]:
        trials = comparison_tables.plan(table, ComparisonRequest(**given))
        return {title: experiments.base(trial.settings) for title, trial in trials.items()}

    return plan


def names(trials: dict[str, Trial]) -> list[str]:
    return [trial.name for trial in trials.values()]


def test_every_system_is_a_row_and_its_recipe_is_its_own(planned: Callable[..., dict[str, Params]]) -> None:
    rows = planned("table3")
    assert set(rows) == set(get_args(SystemName))
    assert {title: values.model.name for title, values in rows.items()} == {title: title for title in rows}


@pytest.mark.parametrize("table", TABLES)
def test_all_rows_share_budget_data_and_base_and_the_test_split_is_closed(
    planned: Callable[..., dict[str, Params]], table: comparison_tables.Name
) -> None:
    rows = planned(table, epochs=3, minutes=0.5, subset="sample").values()
    assert {(values.train.epochs, values.train.minutes) for values in rows} == {(3, 0.5)}
    assert {(values.data.source, values.data.dataset) for values in rows} == {("data/sample/fer2013.csv", "sample")}
    assert {values.data.split for values in rows} == {"official"} or table == "ablations"
    assert {values.model.weights for values in rows if values.model.name in TRANSFERS} == {BASE}
    assert not any(values.evaluate.test for values in rows)


def test_without_a_budget_the_recipes_have_theirs(planned: Callable[..., dict[str, Params]]) -> None:
    assert planned("table3")["vgg16_transfer"].train.epochs == params.load_recipe("paper")["train"]["epochs"]


def test_each_choice_of_the_paper_is_changed_alone(planned: Callable[..., dict[str, Params]]) -> None:
    paper, *others = (params.flatten(values) for values in planned("ablations").values())
    assert (paper["model.name"], paper["model.frozen_blocks"], paper["data.split"]) == ("vgg16_transfer", 3, "official")
    changed = [{key: value for key, value in other.items() if value != paper[key]} for other in others]
    assert changed == [
        {"preprocess.median_kernel": 1},
        {"train.online_augmentation": False, "augment.min_share": 0},
        *({"model.frozen_blocks": frozen} for frozen in (0, 1, 2, 4, 5)),
        {"data.split": "random"},
        {"data.split": "folders"},
    ]


def test_names_are_stable_and_differ_with_the_budget_the_data_and_the_row(place: Path) -> None:
    one = names(comparison_tables.plan("ablations", ComparisonRequest(epochs=1)))
    assert one == names(comparison_tables.plan("ablations", ComparisonRequest(epochs=1)))
    assert one[1].startswith("ablations-no-median-filter-")
    others = [
        ComparisonRequest(epochs=2),
        ComparisonRequest(minutes=1),
        ComparisonRequest(epochs=1, subset="sample"),
        ComparisonRequest(epochs=1, weights="imagenet"),
    ]
    every = [name for request in others for name in names(comparison_tables.plan("ablations", request))]
    assert len({*one, *every}) == 5 * len(TABLES["ablations"])
    assert all(shell(place, "git", "check-ref-format", f"refs/exps/{name}") for name in one)


def test_files_are_given_to_trials_by_their_whole_path(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "small.csv").write_text("")
    (place / "base.weights.h5").write_text("")
    monkeypatch.setenv(comparison_tables.MINI, "small.csv")
    trials = comparison_tables.plan("ablations", ComparisonRequest(subset="mini", weights="base.weights.h5"))
    settings = trials["as the paper"].settings
    assert settings["data"] == {"source": str(place / "small.csv"), "dataset": "other", "split": "official"}
    assert settings["model"]["weights"] == str(place / "base.weights.h5")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epochs": -1}, "train.epochs: Input should be greater than or equal to 0 (found -1)"),
        ({"minutes": -1.0}, "train.minutes: Input should be greater than"),
        ({"subset": "mini"}, "subset mini: FER2013_MINI names no file (found ''); set it to a small copy of FER2013"),
        ({"weights": "none.h5"}, "weights: there is no file none.h5; expected a file of VGG16 weights, or imagenet"),
    ],
)
def test_what_cannot_be_measured_is_one_line(place: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises((BadTable, BadParams)) as raised:
        comparison_tables.plan("ablations", ComparisonRequest(**given))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
