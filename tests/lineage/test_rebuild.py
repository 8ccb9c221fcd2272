"""The real pipeline, rebuilt: it trains again, so it runs with the long tests."""

import shutil
from pathlib import Path

import pytest
from support import shell


@pytest.mark.services
def test_the_real_pipeline_is_rebuilt_to_the_same_weights_and_leaves_nothing(committed: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(committed, tmp_path / "clone", symlinks=True)
    before = [shell(folder, *command).stdout for command in LOOKS]
    done = shell(folder, "ferops", "trace", "fer-vgg16/1", "--verify", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "everything that was compared agrees" in done.stdout
    for what in ("data/sample/fer2013.csv", "data/prepared", "data/augmented", "data/gates/prepared.json", "weights"):
        (row,) = [line for line in done.stdout.splitlines() if line.split()[:1] == [what] and "<" not in line]
        assert row.split()[-1] == "equal"
    assert "Running stage 'train'" in done.stderr
    assert [shell(folder, *command).stdout for command in LOOKS] == before


LOOKS = (
    ("git", "status", "--porcelain"),
    ("git", "worktree", "list"),
    ("find", ".dvc/cache", "-type", "f"),
    ("ls", ".dvc/tmp/ferops"),
    ("sqlite3", "mlflow.db", "select count(*) from runs"),
)
