"""A Python module in a child process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support import ROOT

from ferops.machine.subprocesses import run

SLEEPER = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
print("pids", __import__("os").getpid(), child.pid, flush=True)
time.sleep(120)
"""
"""A module that starts a process of its own, as DVC starts a stage."""


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(folder)])}


def gone(pids: list[int], within: float) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids):
            return True
        time.sleep(0.1)
    return False


def test_lines_come_while_the_process_runs(tmp_path: Path) -> None:
    (tmp_path / "counter.py").write_text(
        "import time\nfor n in range(3): print(n); time.sleep(0.4)\nraise SystemExit(7)"
    )
    seen: list[tuple[str, float]] = []
    status = run(
        "counter", folder=tmp_path, environment=environment(tmp_path),
        on_line=lambda line: seen.append((line, time.monotonic())),
    )  # fmt: skip
    assert status == 7
    assert [line for line, _ in seen] == ["0", "1", "2"]
    assert seen[-1][1] - seen[0][1] > 0.6


def test_a_process_and_its_children_end_when_their_starter_is_killed(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    starter = (
        "import os\nfrom pathlib import Path\nfrom ferops.machine.subprocesses import run\n"
        "run('sleeper', folder=Path(), environment=os.environ, on_line=lambda line: print(line, flush=True))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", starter], cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    pids = [int(word) for word in process.stdout.readline().split()[1:]]
    assert all(psutil.pid_exists(pid) for pid in pids)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert gone(pids, within=10)


def test_an_exception_ends_the_process_and_its_children(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    pids: list[int] = []

    def cancel(line: str) -> None:
        pids.extend(int(word) for word in line.split()[1:])
        raise TimeoutError("cancelled")

    with pytest.raises(TimeoutError):
        run("sleeper", folder=tmp_path, environment=environment(tmp_path), on_line=cancel)
    assert len(pids) == 2
    assert gone(pids, within=1)


def test_the_guard_is_the_running_one_where_pythonpath_names_another_ferops(tmp_path: Path) -> None:
    """As in a worktree of an old commit, whose stages run its own code."""
    sources = tmp_path / "src"
    (sources / "ferops").mkdir(parents=True)
    (sources / "ferops/__init__.py").write_text("")
    (tmp_path / "stage.py").write_text(
        "import os, subprocess, sys\nprint(os.environ['PYTHONPATH'], flush=True)\n"
        "subprocess.run([sys.executable, '-c', 'import ferops; print(ferops.__file__)'], check=True)"
    )
    seen: list[str] = []
    variables = {**os.environ, "PYTHONPATH": str(sources)}
    assert run("stage", folder=tmp_path, environment=variables, on_line=seen.append) == 0
    assert seen == [str(sources), str(sources / "ferops/__init__.py")]
