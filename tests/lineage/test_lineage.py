import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ferops.tracking.lineage import DvcLockHistory, File, chain, commit_info, mismatches, read_dvc_lock


def test_a_lock_that_was_committed_after_the_repro_is_found(clone) -> None:
    source = DvcLockHistory(clone.root).source(*clone.training("HEAD~2:dvc.lock"))
    assert (source.experiment, source.is_whole) == (None, True)
    known = commit_info(source.commit, clone.root)
    assert (known.subject, known.refs) == ("first", ("main",))
    newest = DvcLockHistory(clone.root).source(*clone.training())
    assert commit_info(newest.commit, clone.root).subject == "second", "the oldest that has it, not the one checked out"


def test_a_lock_that_nobody_committed_is_the_workspaces(new) -> None:
    source = DvcLockHistory(new.root).source(*new.training())
    assert (source.commit, source.experiment, source.is_whole) == (None, None, True)


def test_an_experiment_is_named_and_the_queue_is_none(clone) -> None:
    ref = clone.experiment("lr-1e-3")
    training = clone.training(f"{ref}:dvc.lock")
    source = DvcLockHistory(clone.root).source(*training)
    assert (source.experiment, source.is_whole) == ("lr-1e-3", True)
    assert source.commit == clone.git("rev-parse", ref)
    assert "refs/exps/celery/stash" in clone.git("for-each-ref")
    clone.git("update-ref", "-d", ref)
    assert DvcLockHistory(clone.root).source(*training) is None


def test_an_experiment_that_became_a_branch_is_a_commit(clone) -> None:
    clone.git("branch", "kept", clone.experiment("lr-1e-3"))
    source = DvcLockHistory(clone.root).source(*clone.training("kept:dvc.lock"))
    assert source.experiment is None
    assert commit_info(source.commit, clone.root).refs == ("kept",)


def test_another_evaluation_of_the_training_is_told_apart(new) -> None:
    training, lock = new.training()
    first = new.commit("reproduced")
    new.repro(evaluate={"calibration_bins": 30})
    again, other_lock = new.training()
    assert again == training
    source = DvcLockHistory(new.root).source(training, other_lock)
    assert (source.commit, source.is_whole) == (None, True), "the workspace has all of it"
    second = new.commit("finer bins")
    assert DvcLockHistory(new.root).source(training, other_lock).commit == second
    assert DvcLockHistory(new.root).source(training, lock).commit == first
    source = DvcLockHistory(new.root).source(training, "of an evaluation that was never committed")
    assert (source.commit, source.is_whole) == (first, False)


def test_a_commit_on_a_branch_that_was_merged_away_is_found(new) -> None:
    training = new.training()
    new.git("checkout", "-q", "-b", "side")
    side = new.commit("side")
    new.git("checkout", "-q", "main")
    new.git("merge", "-q", "-s", "ours", "-m", "not taken", "side")
    new.git("branch", "-q", "-D", "side")
    assert DvcLockHistory(new.root).source(*training).commit == side


def test_what_git_stashed_is_nobodys_history(new) -> None:
    training = new.training()
    new.git("stash", "-q")
    assert DvcLockHistory(new.root).source(*training) is None


def test_a_lock_with_a_merge_conflict_in_it_is_passed_over(new) -> None:
    training = new.training()
    text = (new.root / "dvc.lock").read_text()
    (new.root / "dvc.lock").write_text(text.replace("stages:\n", "stages:\n<<<<<<< HEAD\n"))
    new.commit("oops")
    assert DvcLockHistory(new.root).source(*training) is None
    (new.root / "dvc.lock").write_text(text)
    sha = new.commit("mended")
    assert DvcLockHistory(new.root).source(*training).commit == sha


def test_without_git_the_workspace_is_still_looked_at(new, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "dvc.lock").write_bytes((new.root / "dvc.lock").read_bytes())
    assert DvcLockHistory(folder).source(*new.training()).commit is None


def test_three_hundred_commits_are_looked_through_with_a_few_git_commands(new, tmp_path: Path, monkeypatch) -> None:
    """Each with another training, in a lock as long as the real one."""
    wanted = new.training()
    text = (new.root / "dvc.lock").read_text()
    padding = "".join(f"    - path: src/file_{n}.py\n      md5: {n:032x}\n      size: 1\n" for n in range(200))
    commits = []
    for n in range(300):
        changed = text
        if n != 150:
            changed = text.replace("  train:\n    cmd:", f"  train:\n    cmd: number {n}")
            changed += f"  other:\n    cmd: x\n    deps:\n{padding}"
        commits.append(
            f"commit refs/heads/main\nmark :{n + 1}\ncommitter t <t@localhost> {1_800_000_000 + n} +0000\ndata 1\nx\n"
            + ("from refs/heads/main^0\n" if n == 0 else "")
            + f"M 644 inline dvc.lock\ndata {len(changed)}\n{changed}\n"
        )
    subprocess.run(["git", "fast-import", "--quiet"], cwd=new.root, input="".join(commits), text=True, check=True)
    calls, git = tmp_path / "calls", tmp_path / "bin/git"
    git.parent.mkdir()
    git.write_text(f'#!/bin/sh\necho >> "{calls}"\nexec "{shutil.which("git")}" "$@"\n')
    git.chmod(0o755)
    monkeypatch.setenv("PATH", str(git.parent), prepend=os.pathsep)
    source = DvcLockHistory(new.root).source(*wanted)
    assert 1 <= len(calls.read_text().splitlines()) <= 3
    assert source.is_whole
    assert source.commit == new.git("rev-parse", "main~149")


def test_the_chain_has_every_file_and_parameter_in_order(new) -> None:
    stages = chain(read_dvc_lock(new.root / "dvc.lock"))
    assert [stage.name for stage in stages] == ["preprocess", "train", "evaluate"]
    preprocess, train, _ = stages
    assert train.cmd == "python make.py train"
    assert train.params["train.seed"] == 0
    assert {file.path for file in train.deps} == {"data/prepared", "make.py", "src/model/network.py"}
    assert preprocess.outs == tuple(file for file in train.deps if file.path == "data/prepared")
    assert all(len(file.md5.removesuffix(".dir")) == 32 for stage in stages for file in (*stage.deps, *stage.outs))
    assert mismatches(stages) == []


def test_stages_that_the_model_does_not_come_from_are_left_out(new) -> None:
    lock = read_dvc_lock(new.root / "dvc.lock")
    lock["stages"]["sample"] = {"cmd": "draw", "outs": [{"path": "data/sample", "md5": "0" * 32}]}
    lock["stages"]["publish"] = {"cmd": "publish", "deps": [{"path": "models/core.keras", "md5": "0" * 32}]}
    assert [stage.name for stage in chain(lock)] == ["preprocess", "train", "evaluate"]


def test_a_chain_whose_ends_do_not_meet_is_named() -> None:
    def file(md5: str) -> dict[str, str]:
        return {"path": "data/prepared", "md5": md5}

    lock = {"stages": {"preprocess": {"outs": [file("a" * 32)]}, "train": {"deps": [file("b" * 32)], "outs": []}}}
    assert mismatches(chain(lock)) == [
        "train read data/prepared as bbbbbbbbbbbb, what is recorded as written is aaaaaaaaaaaa"
    ]
    assert chain(lock)[0].outs == (File("data/prepared", "a" * 32),)


@pytest.mark.parametrize("lock", [{}, {"stages": None}, {"stages": {"train": None}}])
def test_a_lock_without_a_training_has_no_files(lock) -> None:
    assert [file for stage in chain(lock) for file in (*stage.deps, *stage.outs)] == []
