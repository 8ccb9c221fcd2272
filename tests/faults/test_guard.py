"""A stage ends with the `dvc` that started it."""

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from faults.repros import eventually

from ferops.machine.guard import guard_stage

STAGE = """
    import os, subprocess, sys, time
    from pathlib import Path
    child = subprocess.Popen(["sleep", "600"])
    Path("pids.new").write_text(f"{os.getpid()} {child.pid}")
    Path("pids.new").rename("pids")
    while not Path("go").exists():
        time.sleep(0.02)
    from ferops.machine.guard import guard_stage
    guard_stage()
    time.sleep(600)
"""
SHELLS = {
    "a shell that hands over to the stage": ["sh", "-c", "python stage.py"],
    "a shell that stays": ["sh", "-c", "python stage.py; true"],
    "no shell": ["python", "stage.py"],
}


class Started:
    """A stand-in for dvc that runs a stage with a child process, below it in the way that a shell has."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self._folder = folder
        (folder / "stage.py").write_text(textwrap.dedent(STAGE))
        code = f"import subprocess; subprocess.run({command!r})"
        self._dvc = subprocess.Popen(
            [sys.executable, "-c", code], cwd=folder, env={**os.environ, "DVC_STAGE": "train"}, start_new_session=True
        )
        eventually((folder / "pids").exists, 30, lambda: "the stage")
        self._processes = [psutil.Process(int(pid)) for pid in (folder / "pids").read_text().split()]

    def begin_to_guard(self) -> None:
        (self._folder / "go").touch()

    def is_guarded(self) -> bool:
        return self._processes[0].num_threads() > 1

    def kill_dvc(self) -> None:
        self._dvc.kill()
        self._dvc.wait()

    def is_left(self) -> bool:
        return any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in self._processes)

    def end(self) -> None:
        for process in (*self._processes, self._dvc):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._dvc.wait()


@pytest.fixture(params=SHELLS)
def started(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Started]:
    started = Started(tmp_path, SHELLS[request.param])
    yield started
    started.end()


def test_stage_and_children_end_when_dvc_is_killed(started: Started) -> None:
    started.begin_to_guard()
    eventually(started.is_guarded, 30, lambda: "the guard's thread")
    assert started.is_left()
    started.kill_dvc()
    eventually(lambda: not started.is_left(), 10, lambda: "the end of stage and child")


def test_a_stage_whose_dvc_was_killed_before_the_guard_began_ends_too(started: Started) -> None:
    started.kill_dvc()
    assert started.is_left()
    started.begin_to_guard()
    eventually(lambda: not started.is_left(), 10, lambda: "the end of stage and child")


def test_the_guard_keeps_no_normal_end_waiting(tmp_path: Path) -> None:
    code = "from ferops.machine.guard import guard_stage; guard_stage(); print('done')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "DVC_STAGE": "train"},
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert done.stdout == "done\n"


def test_a_stage_run_by_hand_is_not_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    guard_stage()
    assert "ferops-guard" not in {thread.name for thread in threading.enumerate()}
