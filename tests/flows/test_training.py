import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flows.seen import Load, Typed, artifacts
from prefect import State
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import TaskRun
from support import ROOT, shell

LATE = {"evaluate.calibration_bins": 10}
"""A parameter that only the last stages read."""

STAGES = ["sample", "preprocess", "validate@prepared", "augment", "validate@augmented", "train", "evaluate", "publish"]


@pytest.fixture
def training(load: Load, server: None) -> Callable[..., State]:
    module = load("training")
    module.WAITS[:] = [0, 0]
    return lambda **parameters: module.training(**parameters, return_state=True)


def tasks(client: SyncPrefectClient, state: State) -> dict[str, TaskRun]:
    only = FlowRunFilter(id={"any_": [state.state_details.flow_run_id]})
    return {run.name: run for run in client.read_task_runs(flow_run_filter=only)}


def status(folder: Path) -> str:
    return shell(folder, "git", "status", "--short").stdout + shell(folder, "dvc", "status", "--json").stdout


def test_stages_that_are_up_to_date_are_shown_as_cached(
    clone: Path, training: Callable[..., State], client: SyncPrefectClient
) -> None:
    state = training()
    assert state.is_completed()
    runs = tasks(client, state)
    assert list(runs) == STAGES or set(runs) == set(STAGES)
    names = {stage: run.state.name for stage, run in runs.items() if run.state}
    assert names.pop("publish") == "Ran"
    assert set(names.values()) == {"Cached"}
    shown = artifacts(client, state)
    assert set(shown) == {
        "training-stages", "training-gates", "training-metrics", "training-pictures", "training-run",
    }  # fmt: skip
    accuracy = json.loads((clone / "metrics/val.json").read_text())["accuracy"]
    assert f"| accuracy (of seven) | {accuracy:.3f} |" in shown["training-metrics"]
    assert "60% to 69%" in shown["training-metrics"]
    assert shown["training-pictures"].count("data:image/png;base64,") == 2
    assert "/runs/" in shown["training-run"]
    assert "| train | cached |" in shown["training-stages"]


def test_a_gate_that_fails_ends_the_run_at_once_and_shows_what_failed(
    clone: Path, training: Callable[..., State], client: SyncPrefectClient
) -> None:
    state = training(overrides={"validate.min_image_std": 100})
    assert state.is_failed()
    assert "validate@prepared: " in str(state.message)
    assert "checks failed" in str(state.message)
    runs = tasks(client, state)
    assert set(runs) == {"sample", "preprocess", "validate@prepared"}
    assert runs["validate@prepared"].run_count == 1
    shown = artifacts(client, state)
    assert "no blank image" in shown["training-gates"] or "blank" in shown["training-gates"]
    assert "| failed check |" in shown["training-gates"]
    assert "| validate@prepared | failed |" in shown["training-stages"]


def test_publish_is_tried_again_and_a_stage_is_not(
    clone: Path, training: Callable[..., State], client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    state = training()
    assert state.is_failed()
    assert "publish: " in str(state.message)
    assert "http://127.0.0.1:9" in str(state.message)
    assert tasks(client, state)["publish"].run_count == 3


def test_a_deployment_leaves_the_workspace_alone_and_keeps_its_results(
    clone: Path, training: Callable[..., State], client: SyncPrefectClient, deployed: None, tmp_path: Path
) -> None:
    shell(clone, "dvc", "remote", "add", "--default", "--local", "store", str(tmp_path / "remote"))
    before = status(clone), (clone / "params.yaml").read_bytes(), (clone / "dvc.lock").read_bytes()
    state = training(overrides=LATE, push=True)
    assert state.is_completed(), state.message
    assert (status(clone), (clone / "params.yaml").read_bytes(), (clone / "dvc.lock").read_bytes()) == before
    names = {stage: run.state.name for stage, run in tasks(client, state).items() if run.state}
    assert (names["train"], names["evaluate"], names["publish"]) == ("Cached", "Ran", "Ran")
    (name,) = shell(clone, "dvc", "exp", "list", "--name-only").stdout.split()
    assert "calibration_bins: 10" in shell(clone, "git", "show", f"{name}:params.yaml").stdout
    assert "calibration_bins: 10" not in (clone / "params.yaml").read_text()
    assert shell(clone, "git", "branch", "--list", name).stdout.split() == [name]
    assert len(list((tmp_path / "remote").rglob("*"))) > 10
    assert not list((clone / ".dvc/tmp/ferops").iterdir())

    again = training(overrides=LATE)
    names = {stage: run.state.name for stage, run in tasks(client, again).items() if run.state}
    assert names.pop("publish") == "Ran"
    assert set(names.values()) - {"Completed"} == {"Cached"}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"recipe": "papr"}, "there is no recipe 'papr'; recipes/ has: alexnet, best"),
        ({"overrides": {"train.epoch": 3}}, "there is no parameter 'train.epoch'; expected train.epochs"),
        ({"overrides": {"train.epochs": "many"}}, "train.epochs: Input should be a valid integer (found 'many')"),
        ({"targets": ["trai"]}, "there is no stage 'trai'; dvc.yaml has: sample, preprocess"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(
    unchanged: Path, training: Callable[..., State], parameters: dict[str, Any], message: str
) -> None:
    state = training(**parameters)
    assert state.is_failed()
    assert message in str(state.message)
    assert "\n" not in str(state.message)
    assert shell(unchanged, "git", "status", "--short").stdout == ""


def test_a_deployment_without_git_is_one_line(
    training: Callable[..., State], deployed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    state = training()
    assert state.is_failed()
    assert "has no git commit; run this in the root of your clone" in str(state.message)


def test_a_server_that_does_not_answer_is_one_line(unchanged: Path) -> None:
    done = shell(unchanged, sys.executable, "flows/training.py", check=False, PREFECT_API_URL="http://127.0.0.1:9/api")
    assert done.returncode == 1
    assert done.stderr.startswith("training: no Prefect server at http://127.0.0.1:9/api: Connection refused")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("option", "message"), [("train.epoch=1", "no parameter 'train.epoch'"), ("x", "'x': expected KEY=VALUE")]
)
def test_a_mistake_in_the_terminal_is_told_before_a_server_starts(
    unchanged: Path, typed: Typed, option: str, message: str
) -> None:
    said = typed("training", "--set", option)
    assert message in said
    assert "\n" not in said


def test_help_has_an_example(typed: Typed) -> None:
    assert "--set train.epochs=3" in typed("training", "--help")
