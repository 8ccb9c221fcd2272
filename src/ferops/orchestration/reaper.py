"""`python -m ferops.orchestration.reaper`: ends what the process that started it leaves behind when it is killed.

Prefect's temporary server is a child of the flow's process that does not notice its end.
"""

import time
from contextlib import suppress
from typing import Final

import psutil

from ferops.stages.guard import is_alive

_INTERVAL: Final = 0.5  # seconds between two looks


def main() -> None:
    """Look after the parent's children until it has gone, then end those that are left."""
    own = psutil.Process()
    parent = own.parent()
    children: list[psutil.Process] = []
    while parent is not None and is_alive(parent):
        with suppress(psutil.NoSuchProcess):
            children = [child for child in parent.children() if child != own]
        time.sleep(_INTERVAL)
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.terminate()


if __name__ == "__main__":
    main()
