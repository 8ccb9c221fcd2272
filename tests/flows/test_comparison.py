"""The flow `comparison` on the small sample; what trains is marked `services`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from flows.seen import Load, Typed, artifacts, experiments, kept, runs, tasks
from prefect import State
from prefect.client.orchestration import SyncPrefectClient
from support import shell

from ferops.orchestration.sweeps import comparison_tables
from ferops.orchestration.sweeps.comparison_tables import Row


@pytest.fixture
def comparison(load: Load, server: None) -> Callable[..., State]:
    return lambda **parameters: load("comparison").comparison(**parameters, return_state=True)


@pytest.mark.services
def test_systems_are_trained_once_and_set_side_by_side_and_one_that_failed_is_tried_again(
    clone: Path,
    comparison: Callable[..., State],
    client: SyncPrefectClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = {
        "hog_linear": Row("hog_linear", {}),
        "lean_cnn": Row("lean_cnn", {}),
        "cnn": Row("cnn", {"validate.min_image_std": 100.0}),  # no face reaches it
    }
    monkeypatch.setitem(comparison_tables.TABLES, "table3", rows)
    (baseline,) = runs(clone)
    first = comparison(table="table3", epochs=1, subset="sample")
    assert first.is_completed(), first.message
    assert str(first.message).startswith("2 of 3 rows; 1 failed; the best on validation: ")
    done = experiments(clone)
    assert {name.rpartition("-")[0] for name in done} == {"table3-hog-linear", "table3-lean-cnn"}
    (bad,) = tasks(client, first).keys() - done
    assert bad.startswith("table3-cnn-")
    for name in done:
        assert "epochs: 1 " in kept(clone, name, "params.yaml").replace("\n", " ")
        assert kept(clone, name, "metrics/test.json").strip() == "{}", "the test split is closed"
    assert shell(clone, "git", "status", "--short").stdout.split() == [
        "??", "reports/table3.md", "??", "reports/table3.png",
    ]  # fmt: skip

    found = runs(clone)
    (parent,) = found.keys() - done - {baseline}
    assert found[parent].data.params["epochs"] == "1"
    assert {found[name].data.tags["mlflow.parentRunId"] for name in done} == {found[parent].info.run_id}
    page = (clone / "reports/table3.md").read_text()
    assert "**Measured on the synthetic sample (faces drawn by code, not FER2013)." in page
    lines = {line.split(" | ")[0].removeprefix("| "): line for line in page.splitlines() if line.startswith("| ")}
    for name in done:
        scores = json.loads(kept(clone, name, "metrics/val.json"))
        line = lines[found[name].data.params["model.name"]]
        assert f"{scores['accuracy']:.1%} (" in line
        assert " | - | - | - |" not in line, "parameters, seconds and milliseconds are there"
    assert "checks failed" in lines["cnn"]
    files = mlflow.MlflowClient(f"sqlite:///{clone / 'mlflow.db'}").list_artifacts(found[parent].info.run_id)
    assert [file.path for file in files] == ["table3.md", "table3.png"]
    shown = artifacts(client, first)
    assert shown.keys() == {"table3-trials", "table3-picture", "table3-run"}

    (clone / "reports/table3.md").unlink()
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "00000000-0000-0000-0000-000000000000")
    second = comparison(table="table3", epochs=1, subset="sample")
    assert second.is_completed()
    assert tasks(client, second) == {bad: "FAILED"}, "what has finished is not run again"
    assert runs(clone).keys() == found.keys(), "it goes on in the same run"
    assert artifacts(client, second)["table3-trials"] == shown["table3-trials"]
    assert not (clone / "reports/table3.md").exists(), "a deployment leaves the workspace alone"


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"epochs": 0}, "train.epochs: Input should be greater than or equal to 1"),
        ({"subset": "mini"}, "subset mini: FER2013_MINI names no file"),
        ({"weights": "none.h5"}, "weights: there is no file none.h5"),
        ({"notify": "slack-webhook"}, "slack-webhook"),
    ],
)
def test_a_mistake_is_one_line_before_anything_runs(
    unchanged: Path,
    comparison: Callable[..., State],
    monkeypatch: pytest.MonkeyPatch,
    parameters: dict[str, Any],
    said: str,
) -> None:
    monkeypatch.delenv(comparison_tables.MINI, raising=False)
    state = comparison(table="ablations", **parameters)
    assert state.is_failed()
    assert said in str(state.message)
    assert "\n" not in str(state.message)
    assert len(runs(unchanged)) == 1
    assert not (unchanged / "reports/ablations.md").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("table3", "--subset", "tiny"),
            "Invalid value for '--subset': Value error, 'tiny' is not one of 'mini'",
        ),
        (("table3", "--epochs", "two"), "Invalid value for '--epochs': Input should be a valid integer"),
        (("table3", "--minutes", "long"), "Invalid value for '--minutes': Input should be a valid number"),
        (("table3", "--epoch", "2"), "No such option: --epoch (Possible options: --epochs)"),
        ((), "Missing argument 'table'. Choose from: table3, ablations"),
    ],
)
def test_a_wrong_option_is_one_line(typed: Typed, options: tuple[str, ...], said: str) -> None:
    message = typed("comparison", *options)
    assert message.startswith(said)
    assert "\n" not in message


def test_help_says_why_the_base_is_not_imagenets(typed: Typed) -> None:
    shown = typed("comparison", "--help")
    assert "with network to fetch it, imagenet" in shown
    assert comparison_tables.BASE in shown
