import math
from typing import Any

import pytest
from support import ROOT

from ferops import params
from ferops.orchestration import terminal
from ferops.orchestration.sweeps import experiments, search_space, sweep_report
from ferops.orchestration.sweeps.experiments import CLOSED, Trial, TrialResult
from ferops.orchestration.sweeps.search_space import BadSpace, Search

RANGE = {"train.learning_rate": {"min": 1e-5, "max": 1e-2, "log": True}}
GRID = {"train.learning_rate": [0.0001, 0.0003], "model.dropout": [0.2, 0.4]}


@pytest.fixture(autouse=True)
def clone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def plan(space: Any, **given: Any) -> Search:
    return search_space.plan(space, **{"name": "fine", **given})


def grid(space: Any, **given: Any) -> list[Trial]:
    search = plan(space, **given)
    trials = [search.trial(values) for values in search.combinations()]
    assert search.trials == len(trials)
    return trials


def values(trials: list[Trial]) -> list[dict[str, Any]]:
    return [dict(trial.values) for trial in trials]


def test_a_grid_tries_every_combination_once() -> None:
    assert values(grid(GRID)) == [
        {"model.dropout": 0.2, "train.learning_rate": 0.0001},
        {"model.dropout": 0.2, "train.learning_rate": 0.0003},
        {"model.dropout": 0.4, "train.learning_rate": 0.0001},
        {"model.dropout": 0.4, "train.learning_rate": 0.0003},
    ]


def test_a_value_that_is_written_in_two_ways_is_tried_once() -> None:
    trials = grid({"train.learning_rate": [1, 1.0, 0.5]})
    assert values(trials) == [{"train.learning_rate": 1.0}, {"train.learning_rate": 0.5}]


def test_names_depend_on_the_values_and_on_what_is_common_but_not_on_the_order_of_the_keys() -> None:
    turned = dict(reversed(GRID.items()))
    assert grid(GRID) == grid(turned)
    assert {t.name for t in grid(GRID)}.isdisjoint(t.name for t in grid(GRID, overrides={"train.epochs": 3}))
    one, *_ = grid({"train.learning_rate": [0.0003], "model.dropout": [0.4]})
    assert one.name == grid(GRID)[-1].name, "a wider space finds the trials of the narrow one"
    assert one.name.startswith("fine-")


def test_lists_alone_make_a_grid_and_a_range_makes_it_tpe() -> None:
    assert plan(GRID).method == "grid"
    assert plan({**GRID, "train.epochs": {"min": 1, "max": 9}}, trials=3).method == "tpe"


def test_a_search_keeps_its_name_and_key_when_more_trials_are_asked_for() -> None:
    ten, twenty = (search_space.plan(RANGE, trials=trials) for trials in (10, 20))
    assert (ten.name, ten.key) == (twenty.name, twenty.key)
    other = search_space.plan(RANGE, trials=10, seed=1)
    assert ten.name != other.name


@pytest.mark.parametrize(
    ("space", "given", "said"),
    [
        ({}, {}, "the space is empty"),
        ({"train.sed": [1]}, {}, "there is no parameter 'train.sed'; expected train.seed"),
        ({"train": [1]}, {}, "there is no parameter 'train'"),
        ({"train.epochs": 3}, {}, "train.epochs: expected a list of values, or a range"),
        ({"train.epochs": []}, {}, "train.epochs: expected a list"),
        (
            {"train.epochs": [2, -1]},
            {},
            "trial train.epochs=-1: train.epochs: Input should be greater than or equal to 0",
        ),
        ({"train.epochs": ["two"]}, {}, "train.epochs: Input should be a valid integer (found 'two')"),
        ({"train.epochs": [1], "model.dropout": [1.5]}, {}, "model.dropout: Input should be less than 1 (found 1.5)"),
        (
            {"train.epochs": {"min": 1, "max": 9}},
            {"method": "grid"},
            "ranges and `trials` belong to the methods random and tpe",
        ),
        ({"train.epochs": {"min": 1, "max": 9}}, {}, "method tpe needs `trials`, from 1 to 1,000; found None"),
        (GRID, {"trials": 4}, "ranges and `trials` belong to the methods random and tpe"),
        (GRID, {"method": "random", "trials": 0}, "method random needs `trials`, from 1 to 1,000; found 0"),
        ({"model.dropout": {"min": 0.2, "max": 1}}, {"trials": 3}, "model.dropout: Input should be less than 1"),
        ({"train.seed": list(range(2000))}, {}, "the grid has 2,000 trials; 1,000 at most"),
        ({"train.epochs": {"min": 9, "max": 1}}, {}, "found {'min': 9, 'max': 1}"),
        ({"train.epochs": {"low": 1, "max": 9}}, {}, "train.epochs: expected a list of values, or a range"),
        ({"train.epochs": {"min": 1, "max": math.inf}}, {}, "train.epochs: expected a list of values, or a range"),
        ({"train.epochs": {"min": 1.2, "max": 1.8}}, {}, "that holds a number of the parameter's type"),
        ({"model.dropout": {"min": 0, "max": 0.5, "log": True}}, {}, "those of a log scale above 0"),
        ({"train.schedule": {"min": 1, "max": 2}}, {"trials": 3}, "train.schedule: Input should be 'constant'"),
    ],
)
def test_a_space_that_cannot_be_searched_is_one_line(space: Any, given: Any, said: str) -> None:
    with pytest.raises((BadSpace, params.BadParams)) as raised:
        plan(space, **given)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["", "-a", "a/b", "Ä", "a" * 49, "a b", "a..b"])
def test_a_name_that_git_or_dvc_would_not_take_is_refused(name: str) -> None:
    with pytest.raises(BadSpace, match="cannot name a sweep"):
        search_space.plan(GRID, name=name)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("train.learning_rate=1e-4,0.0003", ("train.learning_rate", [1e-4, 0.0003])),
        ("train.schedule=cosine, constant", ("train.schedule", ["cosine", "constant"])),
        ("train.online_augmentation=true,false", ("train.online_augmentation", [True, False])),
        ("data.source=../a.csv,../b.csv", ("data.source", ["../a.csv", "../b.csv"])),
        ("model.dropout=0..0.5", ("model.dropout", {"min": 0, "max": 0.5, "log": False})),
        ("train.learning_rate=1e-5..1e-2 log", ("train.learning_rate", {"min": 1e-5, "max": 1e-2, "log": True})),
    ],
)
def test_the_command_line_names_lists_and_ranges(said: str, meant: tuple[str, Any]) -> None:
    assert terminal.assignments([said], search_space.choices) == dict([meant])


@pytest.mark.parametrize("said", ["train.epochs", "=1", "train.epochs=", "train.epochs=[1"])
def test_an_assignment_that_is_none_is_refused(said: str) -> None:
    with pytest.raises(params.BadParams, match="expected KEY=VALUE"):
        terminal.assignments([said], search_space.choices)


def test_the_test_split_stays_closed_and_a_parameter_is_searched_or_set() -> None:
    for space, overrides in (({CLOSED: [True]}, {}), (GRID, {CLOSED: True})):
        with pytest.raises(BadSpace, match="cannot be searched or set"):
            search_space.plan(space, overrides=overrides)
    with pytest.raises(BadSpace, match="it can only be one"):
        search_space.plan(GRID, overrides={"model.dropout": 0.1})


def scored(trial: Trial, accuracy: float) -> TrialResult:
    interval = [accuracy - 0.02, accuracy + 0.02]
    return TrialResult(trial, {"accuracy": accuracy, "accuracy_interval": interval, "f1_macro": 0.4, "n": 350})


def test_the_table_has_the_best_first_and_those_without_a_result_last_with_their_reason() -> None:
    low, failed, high, pruned = grid(GRID)
    results = experiments.ranked([
        scored(low, 0.7), TrialResult(failed, None, "train failed"), scored(high, 0.9),
        TrialResult(pruned, None, "pruned after epoch 3", is_pruned=True),
    ])  # fmt: skip
    assert [result.trial for result in results] == [high, low, pruned, failed]
    names, first, *_, last = sweep_report.cells(results)
    assert dict(zip(names, first, strict=True)) == {
        "dropout": "0.4", "learning_rate": "0.0001", "accuracy": "0.9000",
        "95% interval": "0.880-0.920", "F1 macro": "0.4000", "experiment": high.name, "reason": "",
    }  # fmt: skip
    assert last[2:] == ["-", "-", "-", failed.name, "train failed"]
    table = sweep_report.table(results)
    assert list(table["accuracy"][:3]) == [0.9, 0.7, pytest.approx(math.nan, nan_ok=True)]
    assert list(table["train.learning_rate"]) == [result.trial.values["train.learning_rate"] for result in results]
