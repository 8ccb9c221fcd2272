"""One thin module a DVC stage: read files, call the rooms, write files."""

import sys
from collections.abc import Callable

from ferops.errors import FeropsError


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage; a user's mistake becomes one line on stderr and exit status 1."""
    try:
        main()
    except FeropsError as error:
        sys.exit(f"{type(error).__name__}: {error}")
