"""A stage ends with the `dvc` that started it: SIGKILL to `dvc` alone would leave it running and writing."""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

_SHELLS: Final = frozenset({"sh", "ash", "bash", "csh", "dash", "fish", "ksh", "mksh", "nu", "tcsh", "zsh", "cmd.exe"})
_INTERVAL: Final = 0.5  # seconds between two looks
_GRACE: Final = 1.0  # seconds that child processes have to clean up behind themselves: git has locks to remove


def guard_stage() -> None:
    """End this process when the `dvc` that runs it as a stage is gone; run by hand, nothing is watched."""
    if "DVC_STAGE" not in os.environ:
        return
    dvc = _starter()
    if dvc is None:
        _end()
    else:
        end_with(dvc)


def end_with(process: psutil.Process) -> None:
    """Watch another process from a thread and end this one, children first, within about two seconds of its end.

    The end is abrupt (`os._exit`): nothing is flushed, no `finally` runs. The thread keeps no normal exit waiting.
    """

    def watch() -> None:
        while is_alive(process):
            time.sleep(_INTERVAL)
        _end()

    threading.Thread(target=watch, name="ferops-guard", daemon=True).start()


def _starter() -> psutil.Process | None:
    """The first ancestor that is no shell: DVC runs a command through $SHELL, which may stay in between.

    None where it is gone already: the process has then been handed to init or to one like it, which leads a process
    group of its own, whereas DVC and its commands share one.
    """
    shells = _SHELLS | {Path(os.environ.get("SHELL", "")).name}
    try:
        starter = psutil.Process().parent()
        while starter is not None and starter.name() in shells:
            starter = starter.parent()
        if starter is None or os.name != "posix" or os.getpgid(starter.pid) == os.getpgid(0):
            return starter
    except (psutil.NoSuchProcess, OSError):  # it went while it was looked at
        pass
    return None


def is_alive(process: psutil.Process) -> bool:
    """Whether a process still runs; one that nobody has waited for does not."""
    try:
        # `is_running` compares the time of creation too: a pid that was given away again is not this process
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _end() -> None:
    try:
        children = psutil.Process().children(recursive=True)
        for stop in (psutil.Process.terminate, psutil.Process.kill):
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    stop(child)
            children = psutil.wait_procs(children, _GRACE)[1]
    finally:
        os._exit(1)
