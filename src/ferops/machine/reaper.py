"""`python -m ferops.machine.reaper`: end the processes that a killed flow leaves behind.

Prefect's temporary server is a child of the flow's process and does not notice that its parent is gone.
"""

import os
import time
from typing import Final

import psutil

from ferops.machine import processes

MARK: Final = "FEROPS_FLOW"
"""Environment variable with the same value in all processes of a flow."""

_INTERVAL: Final = 0.5  # seconds between two checks
_GRACE: Final = 3.0  # seconds to end by itself


def main() -> None:
    """Wait until the parent is gone, then end all processes with this one's MARK."""
    own = psutil.Process()
    parent = own.parent()
    while parent is not None and processes.is_alive(parent):
        time.sleep(_INTERVAL)
    processes.end((other for other in psutil.process_iter() if other != own and _is_marked(other)), _GRACE)


def _is_marked(process: psutil.Process) -> bool:
    try:
        return bool(process.environ().get(MARK) == os.environ[MARK])
    except (psutil.Error, OSError):  # it has ended, or belongs to another user
        return False


if __name__ == "__main__":
    main()
