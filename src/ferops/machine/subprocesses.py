"""Run a Python module in a child process that cannot outlive this one, and read its output line by line."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from ferops.machine import processes

OnLine = Callable[[str], object]
"""Called with one line, without its line break."""

_SOURCES: Final = str(Path(__file__).parents[2])
"""First in the guard's PYTHONPATH: the worktree of an old commit, which may come next, may have no such guard."""

UTF_8: Final = {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"}
"""Environment variables for a Python whose output is read as UTF-8, whatever the locale is."""

_GRACE: Final = 3.0  # seconds that a cancelled process has: git and DVC remove their lock files


def run(module: str, *arguments: str, folder: Path, environment: Mapping[str, str], on_line: OnLine) -> int:
    """Run a Python module in a child process, and wait for it.

    However this process ends, SIGKILL included, the child and its children end too, within about two seconds: it
    watches its parent (`ferops.machine.guard`). An exception here, as of a cancelled flow, ends it at once.

    Args:
        module: as for `python -m`.
        arguments: of the module.
        folder: its working directory.
        environment: all of its environment.
        on_line: called with every line of its stdout and stderr as it comes.

    Returns:
        Its exit status.
    """
    command = [sys.executable, "-m", "ferops.machine.guard", str(os.getpid()), module, *arguments]
    path = os.pathsep.join([_SOURCES, environment.get("PYTHONPATH", "")])
    with subprocess.Popen(
        command, cwd=folder, env={**environment, **UTF_8, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
    ) as process:  # fmt: skip
        try:
            for line in process.stdout or ():
                if line := line.rstrip():
                    on_line(line)
            return process.wait()
        finally:
            if process.poll() is None:
                with suppress(psutil.NoSuchProcess):
                    child = psutil.Process(process.pid)
                    # DVC before its stage: it would still record that the stage has ended, and be killed halfway
                    processes.end([child, *child.children(recursive=True)], _GRACE)
