import json
import os
import shutil
import signal
import subprocess
import time

import psutil
import pytest
from typer.testing import CliRunner

from ferops.cli import app
from ferops.commands.registry.trace import trace
from ferops.commands.registry.verify import CannotRebuild, PipelineResult, compare
from ferops.tracking.registry import versions


def outside(clone) -> dict[str, object]:
    """All that a rebuild must not change: git, DVC's cache, the store."""
    store = clone.store()
    return {
        "status": clone.git("status", "--porcelain"),
        "diff": clone.git("diff", "HEAD"),
        "worktrees": clone.git("worktree", "list"),
        "left": [path.name for path in (clone.root / ".dvc/tmp/ferops").glob("*")],
        "cache": sorted(path.name for path in (clone.root / ".dvc/cache").rglob("*")),
        "runs": [(run.info.run_id, run.data.tags) for run in store.client.search_runs([store.experiment_id])],
    }


def verdicts(text: str) -> dict[str, str]:
    """Rows of the table that is printed last: what -> verdict."""
    rows = [line.split("  ") for line in text[text.index("recorded") :].splitlines()[2:]]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    return {row[0]: row[-1] for row in cells if len(row) > 2}


def test_a_commit_is_rebuilt_to_the_same_and_nothing_of_it_stays(clone, console, capfd) -> None:
    before = outside(clone)
    assert trace("fer-vgg16@previous", console, rebuild=True)
    said = console.export_text()
    assert set(verdicts(said).values()) == {"equal"}
    of_data = {what for what in verdicts(said) if "/" in what}
    assert of_data == {"data/raw/faces.csv", "data/prepared"}, "files that only hold times are not compared"
    assert {"code", "params", "validation accuracy", "weights"} <= set(verdicts(said))
    assert "everything that was compared agrees" in said
    assert "an epoch of training" in capfd.readouterr().err, "what it does is seen while it does it"
    assert outside(clone) == before


def test_what_was_not_committed_when_it_trained_is_rebuilt_too(new, console) -> None:
    """Trained with a change that no commit has, and that the workspace has no longer."""
    (new.root / "src/data/splits.py").write_text("split = 2\n")
    new.repro(train={"seed": 1})
    assert new.publish() == 2
    store = new.store()
    run = versions.run_of(store, versions.resolve(store, "fer-vgg16/2"))
    store.client.delete_tag(run.info.run_id, "x-ferops.rebuilt")  # as one that was logged while it trained
    new.git("reset", "-q", "--hard")
    before = outside(new)
    assert trace("fer-vgg16/2", console, rebuild=True)
    said = console.export_text()
    assert "no commit, no experiment and not the workspace" in said
    assert set(verdicts(said).values()) == {"equal"}
    assert outside(new) == before


def test_metrics_that_are_not_reproduced_end_with_status_1(clone, monkeypatch) -> None:
    monkeypatch.setenv("LUCK", "0.05")
    done = CliRunner().invoke(app, ["trace", "--verify", "--json"])
    assert done.exit_code == 1
    rows = {row["what"]: row for row in json.loads(done.stdout)["verified"]}
    for split in ("validation", "test"):
        assert rows[f"{split} accuracy"]["verdict"] == rows[f"{split} metrics"]["verdict"] == "different"
    assert (rows["validation accuracy"]["recorded"], rows["validation accuracy"]["rebuilt"]) == ("0.6250", "0.6750")
    assert rows["weights"]["passed"] is True


def test_data_that_are_gone_are_said_before_anything_is_trained(clone, console, capfd) -> None:
    before = outside(clone)["left"]
    shutil.rmtree(clone.root / ".dvc/cache")
    with pytest.raises(CannotRebuild, match=r"data/raw/faces.csv, which the pipeline starts from, is neither in DVC"):
        trace("fer-vgg16@champion", console, rebuild=True)
    assert "Running stage" not in capfd.readouterr().err
    assert outside(clone)["left"] == before


def test_a_pipeline_that_fails_is_one_line_after_what_it_said(clone, console, capfd, monkeypatch) -> None:
    monkeypatch.setenv("FULL_DISK", "yes")
    with pytest.raises(CannotRebuild, match=r"`dvc repro` of commit [0-9a-f]{12} ended with status") as error:
        trace("fer-vgg16@champion", console, rebuild=True)
    assert "\n" not in str(error.value)
    assert "no space left on device" in capfd.readouterr().err
    assert outside(clone)["left"] == []


def test_a_version_whose_dvc_lock_is_nowhere_cannot_be_rebuilt(clone, console) -> None:
    clone.git("update-ref", "-d", clone.experiment("lr-1e-3"))
    with pytest.raises(CannotRebuild, match="fer-vgg16/3 cannot be rebuilt: no commit holds its dvc.lock"):
        trace("fer-vgg16/3", console, rebuild=True)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.services)])
def test_ended_in_the_middle_it_leaves_no_process_and_no_worktree(clone, number) -> None:
    before = outside(clone)
    process = subprocess.Popen(
        ["ferops", "trace", "--verify"], cwd=clone.root, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "HANG": "yes"},
    )  # fmt: skip
    assert any("an epoch of training" in line for line in process.stderr)
    children = psutil.Process(process.pid).children(recursive=True)
    assert any("make.py" in " ".join(child.cmdline()) for child in children)
    process.send_signal(number)
    assert process.wait(60) != 0
    deadline = time.monotonic() + 60
    while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert outside(clone) == before


DATA = {"data/raw/x.csv": "a" * 32, "data/prepared": "b" * 32}
HERE = {
    "keras": "3",
    "backend": "tensorflow",
    "backend_version": "2",
    "hardware": "this",
    "precision": "float32",
    "weights_digest": "d" * 64,
}


def result(accuracy: float = 0.6, epochs: int = 8, code: str = "c", **training: str) -> PipelineResult:
    """The result of a pipeline."""
    figures = {"accuracy": accuracy, "accuracy_interval": [accuracy - 0.05, accuracy + 0.05], "n": 400}
    scores = {"validation": figures, "test": {}}
    return PipelineResult(DATA, {"src/x.py": code}, {"train.epochs": epochs}, HERE | training, scores)


def verdict(recorded: PipelineResult, rebuilt: PipelineResult) -> dict[str, tuple[str, bool | None]]:
    return {row.what: (row.verdict, row.passed) for row in compare(recorded, rebuilt)}


def test_the_same_is_equal() -> None:
    found = verdict(result(), result())
    assert set(found) == {
        "data/raw/x.csv", "data/prepared", "code", "params", "validation accuracy", "validation metrics", "weights",
    }  # fmt: skip
    assert set(found.values()) == {("equal", True)}


def test_other_data_code_and_parameters_are_named() -> None:
    rebuilt = result(epochs=9, code="f")._replace(data=DATA | {"data/prepared": "e" * 32})
    found = {row.what: row for row in compare(result(), rebuilt)}
    for what in ("data/prepared", "code", "train.epochs"):
        assert (found[what].verdict, found[what].passed) == ("different", False)
    assert (found["code"].rebuilt, found["train.epochs"].rebuilt) == ("1 differ: src/x.py", "9")
    assert found["data/raw/x.csv"].passed


def test_on_this_hardware_a_millionth_is_a_difference_and_less_is_not() -> None:
    assert verdict(result(), result(accuracy=0.6 + 1e-9))["validation accuracy"] == ("equal", True)
    assert verdict(result(), result(accuracy=0.6 + 1e-5))["validation accuracy"] == ("different", False)
    assert verdict(result(), result(accuracy=0.6 + 1e-5))["validation metrics"] == ("different", False)


@pytest.mark.parametrize("other", ["keras", "backend", "backend_version", "hardware", "precision"])
def test_elsewhere_accuracy_must_be_within_the_intervals_and_weights_are_not_compared(other) -> None:
    near = verdict(result(), result(accuracy=0.66, weights_digest="e" * 64, **{other: "another"}))
    assert near["validation accuracy"] == ("95% intervals overlap", True)
    assert near["weights"] == (f"not compared: other {other.replace('_', ' ')}", None)
    assert "validation metrics" not in near
    far = verdict(result(), result(accuracy=0.71, **{other: "another"}))
    assert far["validation accuracy"] == ("95% intervals apart", False)


def test_where_the_hardware_is_unknown_weights_are_not_compared() -> None:
    unknown = result()._replace(training={})
    assert verdict(unknown, result())["weights"] == ("not compared: unknown hardware", None)


def test_a_split_that_only_one_of_the_two_scored_is_a_difference() -> None:
    opened = result()._replace(metrics={name: result().metrics["validation"] for name in ("validation", "test")})
    assert verdict(result(), opened)["test metrics"] == ("different", False)
    assert verdict(opened, result())["test metrics"] == ("different", False)
    assert "test metrics" not in verdict(result(), result())
