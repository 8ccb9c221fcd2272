import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support import ROOT, shell

from ferops.orchestration.pipeline import dvc_stages
from ferops.orchestration.pipeline.dvc_stages import DvcFailed, UnknownStage
from ferops.orchestration.pipeline.run_folders import Folder

SMALL = """
stages:
  one:
    cmd: echo first > one.txt
    outs: [one.txt]
  two:
    cmd: cat one.txt > two.txt
    deps: [one.txt]
    outs: [two.txt]
  broken:
    cmd: "echo 'broken: why it failed' && exit 3"
    deps: [two.txt]
    outs: [never.txt]
"""


HOLDER = """
import sys
from dvc.repo import Repo
with Repo().lock:
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A pipeline of three stages that take no time."""
    shell(tmp_path, "git", "init", "-q")
    shell(tmp_path, "dvc", "init", "-q")
    (tmp_path / "dvc.yaml").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    return Folder(tmp_path, dict(os.environ))


def test_each_stage_comes_after_those_it_reads() -> None:
    order = dvc_stages.stages(ROOT)
    assert list(order) == [
        "sample", "preprocess", "validate@prepared", "augment", "validate@augmented", "train", "evaluate", "publish",
    ]  # fmt: skip
    assert order["train"] == {"preprocess", "augment", "validate@prepared", "validate@augmented"}


def test_a_target_names_itself_and_what_it_needs() -> None:
    assert list(dvc_stages.stages(ROOT, ["augment"])) == ["sample", "preprocess", "validate@prepared", "augment"]
    assert "validate@augmented" in dvc_stages.stages(ROOT, ["validate"])
    with pytest.raises(UnknownStage, match=r"'trai'; dvc.yaml has: sample, .*train"):
        dvc_stages.stages(ROOT, ["trai"])


def test_names_do_not_depend_on_the_working_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert "train" in dvc_stages.stages(ROOT)


def test_without_dvc_it_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DvcFailed) as error:
        dvc_stages.stages(tmp_path)
    assert "\n" not in str(error.value)


def test_a_stage_runs_once_and_is_cached_then(small: Folder) -> None:
    said: list[str] = []
    assert dvc_stages.changed(small) == {"one", "two", "broken"}
    assert dvc_stages.reproduce(small, "one", said.append).state == "ran"
    assert "> echo first > one.txt" in said
    assert dvc_stages.reproduce(small, "one", said.append).state == "cached"
    assert "one" not in dvc_stages.changed(small)


def test_a_failing_stage_says_its_own_last_line(small: Folder) -> None:
    for stage in ("one", "two"):
        dvc_stages.reproduce(small, stage, lambda line: None)
    with pytest.raises(DvcFailed, match="^broken: why it failed$"):
        dvc_stages.reproduce(small, "broken", lambda line: None)


def test_a_stage_that_is_killed_is_not_explained_by_another_stages_words(small: Folder) -> None:
    logged = "echo 'E0000 00:00:1795898689.959473   17942 util.cc:131] oneDNN supports DT_BFLOAT16 only on AVX-512'"
    killed = SMALL.replace("echo 'broken: why it failed' && exit 3", f"{logged} && kill -9 $$")
    (small.path / "dvc.yaml").write_text(killed.replace("cat one.txt >", "cat one.txt; cat one.txt >"))
    with pytest.raises(DvcFailed, match="failed to run: echo .* kill -9 .*exited with -9$"):
        dvc_stages.dvc(small, lambda line: None, "repro")


def test_it_waits_for_the_lock_of_the_repository_and_says_whose_it_is(small: Folder) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        cwd=small.path, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdin and holder.stdout
    holder.stdout.readline()
    said: list[str] = []

    def on_line(line: str) -> None:
        said.append(line)
        if "waiting for DVC's lock" in line:
            holder.stdin.close()  # it lets go

    assert dvc_stages.reproduce(small, "one", on_line).state == "ran"
    waiting = [line for line in said if "waiting for DVC's lock" in line]
    assert waiting
    assert f"process {holder.pid} has it" in waiting[0]
    assert not any(line.startswith("ERROR") for line in said)
    holder.wait()


def test_it_waits_for_a_stage_that_another_dvc_runs(small: Folder) -> None:
    entry = {"pid": os.getpid(), "cmd": "dvc repro"}
    lock = small.path / ".dvc/tmp/rwlock"
    lock.parent.mkdir(exist_ok=True)
    lock.write_text(json.dumps({"read": {}, "write": {str(small.path / "one.txt"): entry}}))
    threading.Thread(target=lambda: (time.sleep(3), lock.unlink())).start()
    said: list[str] = []
    assert dvc_stages.reproduce(small, "one", said.append).state == "ran"
    assert f"process {os.getpid()} has it" in next(line for line in said if "waiting" in line)


@pytest.mark.parametrize("left", ["", '{"write": {"'])
def test_a_list_of_locks_that_a_killed_dvc_left_half_written_stops_nobody(small: Folder, left: str) -> None:
    lock = small.path / ".dvc/tmp/rwlock"
    lock.parent.mkdir(exist_ok=True)
    lock.write_text(left)
    said: list[str] = []
    assert dvc_stages.reproduce(small, "one", said.append).state == "ran"
    assert not any(json.loads(lock.read_text()).values()), "no lock is held"
    assert any("half written" in line for line in said)


def test_a_commit_takes_the_results_and_nothing_else(small: Folder) -> None:
    (small.path / "mine.txt").write_text("unfinished")
    shell(small.path, "git", "add", "-A")
    shell(small.path, "git", "commit", "-q", "-m", "start")
    (small.path / "mine.txt").write_text("still unfinished")
    (small.path / "metrics").mkdir()
    (small.path / "metrics/val.json").write_text("{}")
    (small.path / "params.yaml").write_text("a: 1")
    dvc_stages.commit(small, "results", lambda line: None)
    assert shell(small.path, "git", "show", "--name-only", "--format=%s").stdout.split() == [
        "results", "metrics/val.json", "params.yaml",
    ]  # fmt: skip
    assert shell(small.path, "git", "status", "--short").stdout.strip() == "M mine.txt"
    before = shell(small.path, "git", "rev-parse", "HEAD").stdout
    dvc_stages.commit(small, "again", lambda line: None)
    assert shell(small.path, "git", "rev-parse", "HEAD").stdout == before
