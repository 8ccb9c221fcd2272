"""End a process when the one that started it is gone.

SIGKILL to `dvc` alone would otherwise leave its stage running and writing. `python -m ferops.machine.guard PID MODULE
[ARGUMENT...]` is how `ferops.machine.subprocesses` runs a Python module that ends with process PID, its parent.
"""

import os
import runpy
import sys
import threading
import time
from pathlib import Path
from typing import Final

import psutil

from ferops.machine import processes

_SHELLS: Final = frozenset({"sh", "ash", "bash", "csh", "dash", "fish", "ksh", "mksh", "nu", "tcsh", "zsh", "cmd.exe"})
_INTERVAL: Final = 0.5  # seconds between two checks
_GRACE: Final = 1.0  # seconds that child processes have to clean up: git has lock files to remove


def guard_stage() -> None:
    """End this process when the `dvc` that runs it as a stage is gone; outside DVC do nothing."""
    if "DVC_STAGE" not in os.environ:
        return
    dvc = _find_dvc()
    if dvc is None:
        _exit()
    else:
        end_with(dvc)


def end_with(process: psutil.Process) -> None:
    """Watch another process from a thread and end this one, children first, within about two seconds of its end.

    The end is abrupt (`os._exit`): nothing is flushed, no `finally` runs. The thread does not delay a normal exit.
    """

    def watch() -> None:
        while processes.is_alive(process):
            time.sleep(_INTERVAL)
        _exit()

    threading.Thread(target=watch, name="ferops-guard", daemon=True).start()


def main() -> None:
    """Run MODULE as `python -m` does, and end it, child processes first, when process PID is gone."""
    _, pid, module, *arguments = sys.argv
    parent = psutil.Process().parent()
    if parent is None or parent.pid != int(pid):
        sys.exit(1)  # it was killed before this process could watch it
    end_with(parent)
    os.environ["PYTHONPATH"] = os.environ["PYTHONPATH"].partition(os.pathsep)[2]  # the first was for this module alone
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _find_dvc() -> psutil.Process | None:
    """Return the first ancestor that is no shell: DVC runs a command through $SHELL, which may stay in between.

    None where it is gone already: the process then belongs to init or a subreaper, which leads a process group of its
    own, whereas DVC and its commands share one.
    """
    shells = _SHELLS | {Path(os.environ.get("SHELL", "")).name}
    try:
        starter = psutil.Process().parent()
        while starter is not None and starter.name() in shells:
            starter = starter.parent()
        if starter is None or os.name != "posix" or os.getpgid(starter.pid) == os.getpgid(0):
            return starter
    except (psutil.NoSuchProcess, OSError):  # it ended meanwhile
        pass
    return None


def _exit() -> None:
    try:
        processes.end(psutil.Process().children(recursive=True), _GRACE)
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
