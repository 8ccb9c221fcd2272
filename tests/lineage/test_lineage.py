import subprocess
import time
from pathlib import Path

import pytest
from support import shell

from ferops.tracking.identity import read_lock
from ferops.tracking.lineage import File, Locks, about, broken, chain


def test_a_lock_that_was_committed_after_the_repro_is_found(clone) -> None:
    training, lock = clone.training()
    sha = clone.commit("reproduced")
    clone.repro(train={"seed": 1})
    clone.commit("another seed")
    (clone.root / "notes.txt").write_text("later\n")
    clone.commit("notes")
    source = Locks(clone.root).source(training, lock)
    assert (source.commit, source.experiment, source.is_whole) == (sha, None, True)
    assert about(sha, clone.root).subject == "reproduced"
    assert about(sha, clone.root).refs == ("main",)
    newest = Locks(clone.root).source(*clone.training())
    assert about(newest.commit, clone.root).subject == "another seed"


def test_a_lock_that_nobody_committed_is_the_workspaces(clone) -> None:
    source = Locks(clone.root).source(*clone.training())
    assert (source.commit, source.experiment, source.is_whole) == (None, None, True)


def test_an_experiment_is_named_and_its_commit_given(clone) -> None:
    clone.commit("reproduced")
    shell(clone.root, "dvc", "exp", "run", "-n", "lr-1e-3", "-S", "train.seed=2", "evaluate")
    shell(clone.root, "dvc", "exp", "run", "--queue", "-n", "waiting", "-S", "train.seed=3", "evaluate")
    training = clone.training()
    clone.git("checkout", "-q", "--", ".")
    source = Locks(clone.root).source(*training)
    assert source.experiment == "lr-1e-3"
    assert source.commit == clone.git("for-each-ref", "--format=%(objectname)", "refs/exps/**/lr-1e-3")
    assert {held.experiment for held in Locks(clone.root)._held if held.commit} == {None, "lr-1e-3"}


def test_an_experiment_that_became_a_commit_is_a_commit(clone) -> None:
    clone.commit("reproduced")
    shell(clone.root, "dvc", "exp", "run", "-n", "kept", "-S", "train.seed=2", "evaluate")
    sha = clone.commit("the experiment, kept")
    source = Locks(clone.root).source(*clone.training())
    assert (source.commit, source.experiment) == (sha, None)


def test_another_evaluation_of_the_training_is_told_apart(clone) -> None:
    training, lock = clone.training()
    first = clone.commit("reproduced")
    clone.repro(evaluate={"calibration_bins": 30})
    again, other_lock = clone.training()
    assert again == training
    source = Locks(clone.root).source(training, other_lock)
    assert (source.commit, source.is_whole) == (None, True), "the workspace has all of it"
    second = clone.commit("finer bins")
    assert Locks(clone.root).source(training, other_lock).commit == second
    assert Locks(clone.root).source(training, lock).commit == first
    source = Locks(clone.root).source(training, "of an evaluation that was never committed")
    assert (source.commit, source.is_whole) == (first, False)


def test_a_commit_on_a_branch_that_was_merged_away_is_found(clone) -> None:
    start = clone.commit("reproduced")
    clone.git("checkout", "-q", "-b", "side")
    clone.repro(train={"seed": 1})
    training = clone.training()
    side = clone.commit("side")
    clone.git("checkout", "-q", "main")
    clone.git("merge", "-q", "-s", "ours", "-m", "not taken", "side")
    clone.git("branch", "-q", "-D", "side")
    shell(clone.root, "dvc", "checkout", "-q", check=False)
    assert Locks(clone.root).source(*training).commit == side != start


def test_what_git_stashed_is_nobodys_history(clone) -> None:
    clone.commit("reproduced")
    clone.repro(train={"seed": 1})
    training = clone.training()
    clone.git("stash", "-q")
    assert Locks(clone.root).source(*training) is None


def test_a_lock_with_a_merge_conflict_in_it_is_passed_over(clone) -> None:
    training = clone.training()
    text = (clone.root / "dvc.lock").read_text()
    (clone.root / "dvc.lock").write_text(text.replace("stages:\n", "stages:\n<<<<<<< HEAD\n"))
    clone.commit("oops")
    assert Locks(clone.root).source(*training) is None
    (clone.root / "dvc.lock").write_text(text)
    sha = clone.commit("mended")
    assert Locks(clone.root).source(*training).commit == sha


def test_without_git_the_workspace_is_still_looked_at(clone, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "dvc.lock").write_bytes((clone.root / "dvc.lock").read_bytes())
    assert Locks(folder).source(*clone.training()).commit is None


def test_a_hundred_and_fifty_commits_are_looked_through_in_seconds(clone) -> None:
    wanted = clone.training()
    text = (clone.root / "dvc.lock").read_text()
    filling = "".join(f"    - path: src/file_{n}.py\n      md5: {n:032x}\n      size: 1\n" for n in range(200))
    commits = []
    for n in range(150):
        # every training another, in a lock as long as the real one
        changed = text.replace("      train:\n", "      train:\n" if n == 75 else f"      train:\n          n: {n}\n")
        if n != 75:
            changed += f"  other:\n    cmd: x\n    deps:\n{filling}"
        commits.append(
            f"commit refs/heads/main\nmark :{n + 1}\ncommitter t <t@localhost> {1_800_000_000 + n} +0000\ndata 1\nx\n"
            + ("from refs/heads/main^0\n" if n == 0 else "")
            + f"M 644 inline dvc.lock\ndata {len(changed)}\n{changed}\n"
        )
    subprocess.run(["git", "fast-import", "--quiet"], cwd=clone.root, input="".join(commits), text=True, check=True)
    started = time.monotonic()
    source = Locks(clone.root).source(*wanted)
    assert time.monotonic() - started < 10
    assert source.is_whole
    assert source.commit == clone.git("rev-parse", "main~74")


def test_the_chain_has_every_file_and_parameter_in_order(clone) -> None:
    stages = chain(read_lock(clone.root / "dvc.lock"))
    assert [stage.name for stage in stages] == ["preprocess", "train", "evaluate"]
    preprocess, train, _ = stages
    assert train.cmd == "python make.py train"
    assert train.params["train.seed"] == 0
    assert {file.path for file in train.deps} == {"data/prepared", "make.py", "src/model/network.py"}
    assert preprocess.outs == tuple(file for file in train.deps if file.path == "data/prepared")
    assert all(len(file.md5.removesuffix(".dir")) == 32 for stage in stages for file in (*stage.deps, *stage.outs))
    assert broken(stages) == []


def test_stages_that_the_model_does_not_come_from_are_left_out(clone) -> None:
    lock = read_lock(clone.root / "dvc.lock")
    lock["stages"]["sample"] = {"cmd": "draw", "outs": [{"path": "data/sample", "md5": "0" * 32}]}
    lock["stages"]["publish"] = {"cmd": "publish", "deps": [{"path": "models/core.keras", "md5": "0" * 32}]}
    assert [stage.name for stage in chain(lock)] == ["preprocess", "train", "evaluate"]


def test_a_chain_whose_ends_do_not_meet_is_named() -> None:
    def file(md5: str) -> dict[str, str]:
        return {"path": "data/prepared", "md5": md5}

    lock = {"stages": {"preprocess": {"outs": [file("a" * 32)]}, "train": {"deps": [file("b" * 32)], "outs": []}}}
    assert broken(chain(lock)) == [
        "train read data/prepared as bbbbbbbbbbbb, what is recorded as written is aaaaaaaaaaaa"
    ]
    assert chain(lock)[0].outs == (File("data/prepared", "a" * 32),)


@pytest.mark.parametrize("lock", [{}, {"stages": None}, {"stages": {"train": None}}])
def test_a_lock_without_a_training_has_no_files(lock) -> None:
    assert [file for stage in chain(lock) for file in (*stage.deps, *stage.outs)] == []
