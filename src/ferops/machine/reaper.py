"""`python -m ferops.machine.reaper`: ends what the process that started it leaves behind when it is killed.

Prefect's temporary server is a child of the flow's process that does not notice its end.
"""

import os
import time
from contextlib import suppress
from typing import Final

import psutil

from ferops.machine.guard import is_alive

MARK: Final = "FEROPS_FLOW"
"""Environment variable by which processes know theirs: a flow's whole family has the same."""

_INTERVAL: Final = 0.5  # seconds between two looks
_GRACE: Final = 3.0  # seconds to end by itself


def main() -> None:
    """Wait until the parent has gone, then end those of its family that are left."""
    own = psutil.Process()
    parent = own.parent()
    while parent is not None and is_alive(parent):
        time.sleep(_INTERVAL)
    left = [process for process in psutil.process_iter() if process != own and _mark(process) == os.environ[MARK]]
    for stop in (psutil.Process.terminate, psutil.Process.kill):
        for process in left:
            with suppress(psutil.NoSuchProcess):
                stop(process)
        left = psutil.wait_procs(left, _GRACE)[1]


def _mark(process: psutil.Process) -> str | None:
    try:
        return str(process.environ().get(MARK))
    except (psutil.Error, OSError):  # it has gone, or is somebody else's
        return None


if __name__ == "__main__":
    main()
