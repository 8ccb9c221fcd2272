"""Child processes whose lines are read while they run, and that do not outlive this one."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

OnLine = Callable[[str], object]
"""Takes one line, without its end."""

_GRACE: Final = 3.0  # seconds that a cancelled process has: git and DVC put their locks away


def run(module: str, *arguments: str, folder: Path, environment: Mapping[str, str], on_line: OnLine) -> int:
    """Run a Python module in a process of its own, and wait for it.

    However this process ends, SIGKILL included, the other ends too, with its children, within about two seconds: it
    watches its parent (`ferops.machine.guard`). An exception here, as of a flow that is cancelled, ends it at once.

    Args:
        module: as for `python -m`.
        arguments: of the module.
        folder: where it runs.
        environment: all of its environment.
        on_line: called with every line of its stdout and stderr as it comes.

    Returns:
        Its exit status.
    """
    command = [sys.executable, "-m", "ferops.machine.guarded", str(os.getpid()), module, *arguments]
    process = subprocess.Popen(
        command, cwd=folder, env={**environment, "PYTHONUNBUFFERED": "1"}, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        for line in process.stdout or ():
            if line := line.rstrip():
                on_line(line)
        return process.wait()
    finally:
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    if process.stdout:
        process.stdout.close()
    if process.poll() is not None:
        return
    with suppress(psutil.NoSuchProcess):
        # DVC before its stage: it would still write down that the stage has ended, and be cut off in the middle
        tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for stop in (psutil.Process.terminate, psutil.Process.kill):
            for one in tree:
                with suppress(psutil.NoSuchProcess):
                    stop(one)
            tree = psutil.wait_procs(tree, _GRACE)[1]
    process.wait()
