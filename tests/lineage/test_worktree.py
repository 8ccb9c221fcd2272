import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support import shell

from ferops.commands.worktree import FOLDER, NoWorktree, environment, worktree


def untouched(root: Path) -> tuple[str, ...]:
    """What git says of a clone: status, branch, worktrees; and what lies in the folder of worktrees."""
    said = (("status", "--porcelain"), ("rev-parse", "HEAD"), ("worktree", "list"), ("diff",), ("diff", "--cached"))
    left = sorted(path.name for path in (root / FOLDER).glob("*"))
    return *(shell(root, "git", *command).stdout for command in said), *left


def test_a_commit_stands_beside_the_workspace_and_is_gone_afterwards(clone) -> None:
    first = clone.commit("reproduced")
    clone.repro(train={"seed": 1})
    before = untouched(clone.root)
    with worktree(first) as folder:
        assert "seed: 0" in (folder / "dvc.lock").read_text()
        assert "seed: 1" in (clone.root / "dvc.lock").read_text()
        (folder / "make.py").write_text("changed")
        (folder / "new.txt").write_text("new")
        assert shell(clone.root, "git", "status", "--porcelain").stdout == before[0]
    assert not folder.exists()
    assert untouched(clone.root) == before


def test_files_come_from_the_clones_cache(clone) -> None:
    sha = clone.commit("reproduced")
    before = untouched(clone.root)
    with worktree(sha) as folder:
        shell(folder, "dvc", "checkout", "-q")
        for name in ("models/core.keras", "data/prepared/report.json", "data/raw/faces.csv"):
            assert (folder / name).read_bytes() == (clone.root / name).read_bytes()
    assert untouched(clone.root) == before


def test_files_come_from_the_clones_remote_whatever_the_commit_said_of_remotes(clone) -> None:
    sha = clone.commit("before there was a remote")
    shell(clone.root, "dvc", "remote", "add", "-d", "store", "../store, of # all 'faces'")
    shell(clone.root, "dvc", "push", "-q")
    shutil.rmtree(clone.root / ".dvc/cache")
    with worktree(sha) as folder:
        assert shell(folder, "dvc", "remote", "list").stdout == shell(clone.root, "dvc", "remote", "list").stdout
        shell(folder, "dvc", "pull", "-q", "models/core.keras")
        assert (folder / "models/core.keras").is_file()


def test_passwords_and_the_place_of_the_cache_are_known_there_too(clone, tmp_path: Path) -> None:
    sha = clone.commit("reproduced")
    shell(clone.root, "dvc", "remote", "add", "bucket", "s3://faces/store")
    shell(clone.root, "dvc", "remote", "modify", "--local", "bucket", "secret_access_key", "a#b\"c'd,e=f")
    shell(clone.root, "dvc", "cache", "dir", "--local", "../cache")
    shell(clone.root, "dvc", "config", "--local", "cache.type", "reflink,hardlink,copy")
    with worktree(sha) as folder:
        assert shell(folder, "dvc", "config", "--list").stdout.splitlines()[-5:]
        told = dict(line.split("=", 1) for line in shell(folder, "dvc", "config", "--list").stdout.splitlines())
        assert told["remote.bucket.secret_access_key"] == "a#b\"c'd,e=f"
        assert told["cache.type"] == "reflink,hardlink,copy"
        assert shell(folder, "dvc", "cache", "dir").stdout.strip() == str(tmp_path / "cache")
        assert (folder / ".dvc/config.local").stat().st_mode & 0o077 == 0


def test_a_patch_is_applied_to_it(clone) -> None:
    sha = clone.commit("reproduced")
    (clone.root / "make.py").write_text("print('another method')\n")
    patch = shell(clone.root, "git", "diff", "--binary", "HEAD").stdout.encode()
    with worktree(sha, patch=patch) as folder:
        assert (folder / "make.py").read_text() == "print('another method')\n"
    with pytest.raises(NoWorktree, match="git apply"), worktree(sha, patch=patch.replace(b"-import", b"-export")):
        pass
    assert not list((clone.root / FOLDER).iterdir())


def test_its_own_code_runs_and_knows_nothing_of_a_dvc_around_it(clone, monkeypatch) -> None:
    sha = clone.commit("reproduced")
    monkeypatch.setenv("DVC_ROOT", "/somewhere")
    monkeypatch.setenv("DVC_EXP_NAME", "around")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", sha)
    with worktree(sha) as folder:
        code = "import data.readers, os; print(data.readers.__file__, *[n for n in os.environ if n.startswith('DVC_')])"
        said = subprocess.check_output(["python", "-c", code], cwd=folder, env=environment(folder), text=True).split()
    assert said == [str(folder / "src/data/readers.py")]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_it_is_gone_whatever_ends_the_block(clone, error) -> None:
    sha = clone.commit("reproduced")
    before = untouched(clone.root)
    with pytest.raises(error), worktree(sha):
        raise error
    assert untouched(clone.root) == before


def test_what_a_killed_process_left_goes_with_the_next_and_what_a_living_one_has_stays(clone) -> None:
    sha = clone.commit("reproduced")
    before = untouched(clone.root)
    code = (
        "import os, sys; from ferops.commands.worktree import worktree\n"
        f"with worktree('{sha}') as folder:\n  print(folder, flush=True); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=clone.root, capture_output=True, text=True)
    left = Path(killed.stdout.strip())
    assert left.is_dir()
    with worktree(sha) as outer:
        assert not left.exists()
        with worktree(sha) as inner:
            assert outer.is_dir() and inner.is_dir()
        assert outer.is_dir()
    assert untouched(clone.root) == before


def test_several_at_once_do_not_disturb_each_other(clone) -> None:
    shas = [clone.commit("reproduced")]
    clone.repro(train={"seed": 1})
    shas.append(clone.commit("another"))
    found: dict[str, str] = {}

    def look(sha: str) -> None:
        with worktree(sha, clone.root) as folder:
            found[sha] = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=folder, text=True).strip()

    threads = [threading.Thread(target=look, args=(sha,)) for sha in shas]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {sha: sha for sha in shas}


def test_no_hook_of_the_clone_runs(clone) -> None:
    sha = clone.commit("reproduced")
    hook = clone.root / ".git/hooks/post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {clone.root.parent}/ran\n")
    hook.chmod(0o755)
    with worktree(sha):
        pass
    assert not (clone.root.parent / "ran").exists()


def test_in_a_clone_that_was_moved_it_works_the_same(clone, monkeypatch) -> None:
    sha = clone.commit("reproduced")
    moved = clone.root.with_name("moved")
    clone.root.rename(moved)
    monkeypatch.chdir(moved)
    with worktree(sha) as folder:
        shell(folder, "dvc", "checkout", "-q")
        assert (folder / "models/core.keras").is_file()
    assert untouched(moved)[-1].count("\n") == 0


def test_a_commit_that_git_does_not_know_and_a_folder_without_dvc_are_one_line(clone, tmp_path: Path) -> None:
    with pytest.raises(NoWorktree, match=r"invalid reference: no-such-commit") as error, worktree("no-such-commit"):
        pass
    assert "\n" not in str(error.value)
    assert not list((clone.root / FOLDER).iterdir())
    with pytest.raises(NoWorktree, match="no DVC repository"), worktree("HEAD", tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["clone"]
