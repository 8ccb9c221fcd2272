"""The real pipeline, rebuilt: it trains again, so it runs with the long tests."""

import shutil
from pathlib import Path

import pytest
from support import shell

from ferops.tracking import store


def outside(folder: Path) -> list[object]:
    """What git says, what DVC's cache holds, and the runs in the store."""
    opened = store.connect(f"sqlite:///{folder / 'mlflow.db'}")
    return [
        shell(folder, "git", "status", "--porcelain").stdout,
        shell(folder, "git", "worktree", "list").stdout,
        sorted(path.name for path in (folder / ".dvc/cache").rglob("*")),
        [run.info.run_id for run in opened.client.search_runs([opened.experiment_id])],
    ]


@pytest.mark.services
def test_the_real_pipeline_is_rebuilt_to_the_same_weights_and_leaves_nothing(committed: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(committed, tmp_path / "clone", symlinks=True)
    before = outside(folder)
    done = shell(folder, "ferops", "trace", "fer-lean-cnn/1", "--verify")
    assert "Running stage 'train'" in done.stderr
    table = done.stdout[done.stdout.index("recorded") :]
    for what in ("data/sample/fer2013.csv", "data/prepared", "data/augmented", "data/gates/prepared.json", "code",
                 "params", "validation metrics", "test metrics", "weights"):  # fmt: skip
        (row,) = [line.split() for line in table.splitlines() if line.strip().startswith(f"{what} ")]
        assert row[-1] == "equal"
    assert "everything that was compared agrees" in table
    assert outside(folder) == before
    assert not list((folder / ".dvc/tmp/ferops").iterdir())
