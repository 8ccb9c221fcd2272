import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import shell

from ferops.machine.git import RepositoryError
from ferops.machine.worktrees import FOLDER, environment, worktree


def outside(clone) -> list[str]:
    """What a worktree must not change: the clone's index, files, branch and list of worktrees, and their folders."""
    said = (("status", "--porcelain"), ("rev-parse", "HEAD"), ("worktree", "list"), ("diff",), ("diff", "--cached"))
    return [*(clone.git(*command) for command in said), *(path.name for path in (clone.root / FOLDER).glob("*"))]


def test_a_commit_is_checked_out_beside_the_workspace_and_removed(clone, monkeypatch) -> None:
    first = clone.git("rev-parse", "HEAD~2")
    hook = clone.root / ".git/hooks/post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {clone.root.parent}/ran\n")
    hook.chmod(0o755)
    for name in ("DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.setenv(name, "of the pipeline around it")
    before = outside(clone)
    with worktree(first) as folder:
        assert "seed: 0" in (folder / "dvc.lock").read_text()
        assert "seed: 1" in (clone.root / "dvc.lock").read_text()
        variables = environment(folder)
        shell(folder, sys.executable, "-m", "dvc", "checkout", "-q", "models/core.keras")
        assert (folder / "models/core.keras").read_bytes() == (clone.root / "cores/0.keras").read_bytes()
        code = "import data.readers, os; print(data.readers.__file__, *[n for n in os.environ if n.startswith('DVC_')])"
        said = subprocess.check_output(["python", "-c", code], cwd=folder, env=variables, text=True)
        assert said.split() == [str(folder / "src/data/readers.py")]
        (folder / "make.py").write_text("changed")
        (folder / "new.txt").write_text("new")
        assert clone.git("status", "--porcelain") == before[0]
    assert not folder.exists()
    assert outside(clone) == before
    assert not (clone.root.parent / "ran").exists(), "no hook of the clone runs"


def test_cache_remotes_and_passwords_are_the_clones_also_after_it_was_moved(clone, monkeypatch) -> None:
    clone.root = clone.root.rename(clone.root.with_name("moved, twice"))
    monkeypatch.chdir(clone.root)
    with (clone.root / ".dvc/config").open("a") as stream:
        stream.write("[cache]\n    type = \"reflink,copy\"\n['remote \"store\"']\n    url = ../../store of 'faces'\n")
    (clone.root / ".dvc/config.local").write_text(
        "[cache]\n    dir = ../../cache\n['remote \"store\"']\n    password = '''a#b\"c'd,e=f'''\n"
    )
    with worktree("HEAD") as folder:
        said = shell(folder, "dvc", "config", "--list").stdout
        options = dict(line.split("=", 1) for line in said.splitlines())
        assert options["cache.dir"] == str(clone.root.parent / "cache")
        assert options["cache.type"] == "reflink,copy"
        assert options["remote.store.url"] == str(clone.root.parent / "store of 'faces'")
        assert options["remote.store.password"] == "a#b\"c'd,e=f"
        assert (folder / ".dvc/config.local").stat().st_mode & 0o077 == 0, "for nobody else to read"


def test_the_workspace_itself_can_be_copied_with_its_changes(new) -> None:
    (new.root / "make.py").write_text("print('another method')\n")
    (new.root / "src/data/splits.py").unlink()
    with worktree(None) as folder:
        for name in ("make.py", "dvc.lock", "metrics/val.json", "reports/train/history.csv"):
            assert (folder / name).read_bytes() == (new.root / name).read_bytes()
        assert not (folder / "src/data/splits.py").exists()
        assert not (folder / "models/core.keras").exists(), "what git ignores stays where it is"


def test_a_patch_is_applied_and_one_that_does_not_fit_is_refused(new) -> None:
    (new.root / "make.py").write_text("print('another method')\n")
    patch = new.git("diff", "HEAD", "--", "make.py").encode() + b"\n"
    with worktree("HEAD", patch=patch) as folder:
        assert (folder / "make.py").read_text() == "print('another method')\n"
    with (
        pytest.raises(RepositoryError, match="`git apply` failed"),
        worktree("HEAD", patch=patch.replace(b"-import", b"-export")),
    ):
        pass
    assert not list((new.root / FOLDER).iterdir())


def test_it_is_removed_also_by_an_exception(new) -> None:
    before = outside(new)
    with pytest.raises(KeyboardInterrupt), worktree("HEAD"):
        raise KeyboardInterrupt
    assert outside(new) == before


def test_a_worktree_of_a_killed_process_is_removed_by_the_next_and_one_in_use_is_kept(new) -> None:
    before = outside(new)
    code = (
        "import os; from ferops.machine.worktrees import worktree\n"
        "with worktree('HEAD') as folder:\n  print(folder, flush=True); os.kill(os.getpid(), 9)"
    )
    left = Path(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip())
    assert left.is_dir()
    with worktree("HEAD") as outer, worktree("HEAD") as inner:
        assert not left.exists()
        assert outer.is_dir()
        assert inner.is_dir()
    assert outside(new) == before


def test_an_unknown_commit_and_a_folder_without_dvc_are_one_line(new, tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="invalid reference: no-such-commit") as error, worktree("no-such-commit"):
        pass
    assert "\n" not in str(error.value)
    assert not list((new.root / FOLDER).iterdir())
    shutil.rmtree(new.root)
    with pytest.raises(RepositoryError, match="no DVC repository"), worktree("HEAD", tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
